import { spawnSync } from 'node:child_process'

export const ROOT = new URL('../../', import.meta.url).pathname
export const ACTIONS = `${ROOT}.github/actions`
export const WORKFLOWS = `${ROOT}.github/workflows`

export interface Outcome {
  readonly code: number | null
  /** What it wrote for $GITHUB_OUTPUT. */
  readonly outputs: Readonly<Record<string, string>>
  readonly errors: string
}

/** Runs a script as a workflow does: with nothing but its own variables. */
export function run(script: string, env: Readonly<Record<string, string>>, cwd = ROOT): Outcome {
  const { PATH = '', HOME = '' } = process.env
  const { status, stdout, stderr } = spawnSync(script, { cwd, env: { PATH, HOME, ...env }, encoding: 'utf8' })
  return { code: status, outputs: outputsOf(stdout), errors: stderr }
}

/** `name=value`, and `name<<END` with lines up to `END`. */
function outputsOf(text: string): Record<string, string> {
  const outputs: Record<string, string> = {}
  const lines = text.split('\n')
  for (let at = 0; at < lines.length; at++) {
    const many = /^(\w+)<<(\w+)$/.exec(lines[at] ?? '')
    const one = /^(\w+)=(.*)$/.exec(lines[at] ?? '')
    if (many !== null) {
      const end = lines.indexOf(many[2] ?? '', at)
      outputs[many[1] ?? ''] = lines.slice(at + 1, end).join('\n')
      at = end
    } else if (one !== null) outputs[one[1] ?? ''] = one[2] ?? ''
  }
  return outputs
}
