import { z } from 'zod'
import { parseJson } from '../../protocol/json.ts'

/**
 * The control plane's log: one JSON object a line, each with `time`, `level` and `msg`, whoever said it. Somebody at a
 * terminal reads this process's own words as plain text.
 */
export type Level = 'debug' | 'info' | 'warn' | 'error'

const LogLine = z.object({
  time: z.string(),
  level: z.string(),
  msg: z.string(),
  error: z.string().optional(),
  reason: z.string().optional(),
})

/** What console methods and workerd call their levels. */
const LEVELS: Readonly<Record<string, Level>> = { debug: 'debug', warn: 'warn', error: 'error' }

export function say(level: Level, msg: string): void {
  const stream = level === 'info' ? process.stdout : process.stderr
  stream.write(
    stream.isTTY ? `control plane: ${msg}\n` : `${JSON.stringify(lineOf(level, msg, Date.now()))}\n`,
  )
}

/** What the Worker logged, as it is, and what workerd itself wrote, as the `msg` of a line. */
export function sayForRuntime(level: string, message: string, at: number): void {
  const stream = level === 'error' || level === 'warn' ? process.stderr : process.stdout
  stream.write(`${runtimeLine(level, message, at)}\n`)
}

export function runtimeLine(level: string, message: string, at: number): string {
  if (parseLine(message) !== undefined) return message
  return JSON.stringify({ ...lineOf(LEVELS[level] ?? 'info', message.trimEnd(), at), source: 'workerd' })
}

function lineOf(level: Level, msg: string, at: number) {
  return { level, time: new Date(at).toISOString(), msg }
}

/** A line of this log or the runner's for somebody who reads it at a terminal; anything else as it is. */
export function inWords(text: string): string {
  const line = parseLine(text)
  if (line === undefined) return text
  return [`${line.level}: ${line.msg}`, line.error ?? line.reason].filter(Boolean).join(': ')
}

function parseLine(text: string): z.infer<typeof LogLine> | undefined {
  const parsed = parseJson(text)
  return parsed.ok ? LogLine.safeParse(parsed.value).data : undefined
}
