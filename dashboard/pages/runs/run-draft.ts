import { parseJson } from '../../../protocol/json.ts'
import type { Run } from '../../../protocol/run.ts'

/** What is typed into the form that starts a run, and the API's body it becomes. */
export interface RunDraft {
  readonly environmentId: string
  readonly image: string
  /** One argument a line, as a JSON string where it has several lines itself. */
  readonly command: string
  /** `NAME=value`, one a line. */
  readonly env: string
  /** `key=value`, one a line. */
  readonly labels: string
  readonly priority: string
  readonly timeoutSeconds: string
  readonly memoryMb: string
  readonly cpus: string
}

/** @param run to do once more; its variables are not known any more, by design */
export function draftOf(run: Run | null): RunDraft {
  return {
    environmentId: run?.environment_id ?? '',
    image: run?.image ?? '',
    command: (run?.command ?? []).map(lineOf).join('\n'),
    env: '',
    labels: Object.entries(run?.labels ?? {})
      .map(([name, value]) => `${name}=${value}`)
      .join('\n'),
    priority: String(run?.priority ?? 0),
    timeoutSeconds: String(run?.timeout_seconds ?? 3600),
    memoryMb: run?.resources.memory_mb === undefined ? '' : String(run.resources.memory_mb),
    cpus: run?.resources.cpus === undefined ? '' : String(run.resources.cpus),
  }
}

/** What is wrong with it is the API's to say; this only reads it. */
export function bodyOf(draft: RunDraft): object {
  const lines = draft.command.split('\n').filter((line, i, all) => line !== '' || i < all.length - 1)
  const command = lines.map(argumentOf)
  const resources = {
    ...(draft.memoryMb !== '' && { memory_mb: Number(draft.memoryMb) }),
    ...(draft.cpus !== '' && { cpus: Number(draft.cpus) }),
  }
  return {
    ...(draft.image.trim() !== '' && { image: draft.image.trim() }),
    ...(draft.command !== '' && { command }),
    env: pairsOf(draft.env),
    labels: pairsOf(draft.labels),
    priority: Number(draft.priority),
    timeout_seconds: Number(draft.timeoutSeconds),
    resources,
  }
}

function lineOf(argument: string): string {
  return argument === '' || argument.startsWith('"') || argument.includes('\n')
    ? JSON.stringify(argument)
    : argument
}

function argumentOf(line: string): string {
  const json = line.startsWith('"') ? parseJson(line) : null
  return json?.ok === true && typeof json.value === 'string' ? json.value : line
}

/** A line without `=` is a name without a value. */
export function pairsOf(text: string): Record<string, string> {
  const lines = text.split('\n').filter(line => line.trim() !== '')
  return Object.fromEntries(
    lines.map(line => {
      const at = line.indexOf('=')
      return at === -1 ? [line.trim(), ''] : [line.slice(0, at).trim(), line.slice(at + 1)]
    }),
  )
}
