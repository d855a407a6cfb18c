import { pino } from 'pino'
import { sleep } from './clock.ts'

export type Log = Pick<pino.Logger, 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'child'>

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** Anything shaped like one of our secrets, wherever in a message it turns up. */
export const SECRET = /cty_(?:key|reg|run|view|link)_[0-9A-Za-z]+/g
/** Name and password in an address, such as a proxy's; written as JSON, so no text ends within it. */
export const USER_INFO = /\/\/[^/@\s"]+@/g

/** A reader that has stopped reading must not keep a process from ending. */
const CLOSE_LIMIT_MS = 1_000
/** Hours of a busy runner's lines. */
const UNWRITTEN_LIMIT_BYTES = 8 * 1024 * 1024

/** Standard output, written beside everything else: a reader that is slow delays no deadline. */
export type LogOutput = ReturnType<typeof pino.destination>

/** Where it cannot be written, as on a disk that is full, the runner goes on: what is newest is lost from the log. */
export function standardOutput(): LogOutput {
  const output = pino.destination({ dest: 1, maxLength: UNWRITTEN_LIMIT_BYTES })
  output.on('error', () => undefined)
  // Called for fatal lines and at the process's exit, it tries again without end and lets nothing else run meanwhile.
  output.flushSync = () => undefined
  return output
}

/** JSON lines. Secrets are removed by name and by shape. */
export function createLog(level: LogLevel, output: LogOutput = standardOutput()): Log {
  const options: pino.LoggerOptions = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: label => ({ level: label }) },
    redact: {
      paths: [
        'credential',
        'registration_token',
        'token',
        'env',
        '*.credential',
        '*.registration_token',
        '*.env',
      ],
      censor: '[redacted]',
    },
    hooks: { streamWrite: line => line.replace(SECRET, '[redacted]').replace(USER_INFO, '//[redacted]@') },
  }
  return pino(options, output)
}

/** Resolves when everything that was said is written; the process may exit then. A line in flight would be overtaken. */
export async function closeLog(output: LogOutput): Promise<void> {
  const closed = new Promise<void>(resolve => output.once('close', () => resolve()))
  output.end()
  await Promise.race([closed, sleep(CLOSE_LIMIT_MS)])
}

export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause === undefined ? '' : `: ${reasonOf(error.cause)}`
  // One for each address of a name, which has no words of its own.
  const each = error instanceof AggregateError ? [...new Set(error.errors.map(reasonOf))].join(', ') : ''
  return `${error.message || each || error.name}${cause}`
}
