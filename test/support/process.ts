import { type ChildProcess, spawn } from 'node:child_process'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const FOLLOW_PARENT = new URL('../../scripts/launch/follow-parent.mjs', import.meta.url).href
/** Many tests start a program many times over. */
const NODE_COMPILE_CACHE = path.join(process.env.CERTYN_TEST_FOLDER ?? tmpdir(), 'compiled')

/** One of this repository's programs as a process, its output kept. Dies with the test process. */
export interface Program {
  readonly pid: number
  readonly output: () => string
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  kill(signal: NodeJS.Signals): void
  /** Sends the signal and waits for the end. */
  end(signal: NodeJS.Signals): Promise<void>
}

/** It leads a process group of its own. */
export function startProgram(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Program {
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--import', FOLLOW_PARENT, path.join(ROOT, program), ...args],
    {
      cwd: ROOT,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      env: { NODE_COMPILE_CACHE, ...cleanEnvironment(), ...env, CERTYN_LIFELINE_FD: '3' },
    },
  )
  return programOf(child)
}

export function programOf(child: ChildProcess): Program {
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal }))
  })
  const { pid } = child
  if (pid === undefined) throw new Error('the process could not be started')
  const kill = (signal: NodeJS.Signals) => void child.kill(signal)
  return {
    pid,
    output: () => output,
    exited,
    kill,
    end: async signal => {
      kill(signal)
      await exited
    },
  }
}

/** What vitest, npm and a CI add is not what a program meets in real life. */
export function cleanEnvironment(): Record<string, string> {
  const kept = Object.entries(process.env).filter(
    ([name, value]) =>
      value !== undefined &&
      !/^(?:npm_|VITEST|VITE_|NODE_ENV$|TEST$|CI$|INIT_CWD$|CERTYN_|MINIFLARE_)/.test(name),
  )
  return Object.fromEntries(kept) as Record<string, string>
}
