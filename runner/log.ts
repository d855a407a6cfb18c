import { pino } from 'pino'

export type Log = Pick<pino.Logger, 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'child'>

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** Anything shaped like one of our secrets, wherever in a message it turns up. */
export const SECRET = /cty_(?:key|reg|run|view|link)_[0-9A-Za-z]+/g

/** JSON lines on standard output. Secrets are removed by name and by shape. */
export function createLog(level: LogLevel): Log {
  return pino({
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
    hooks: { streamWrite: line => line.replace(SECRET, '[redacted]') },
  })
}

export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause === undefined ? '' : `: ${reasonOf(error.cause)}`
  return `${error.message || error.name}${cause}`
}
