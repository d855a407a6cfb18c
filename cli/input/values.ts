import { readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import { InvalidArgumentError } from 'commander'
import type { z } from 'zod'
import { usage } from '../failure.ts'

/** How options and arguments are read. What the API checks is left to the API, whose limits may be newer. */

/** Fails as commander expects, so that the option is named. */
export function as<Schema extends z.ZodType>(schema: Schema): (text: string) => z.output<Schema> {
  return text => {
    const result = schema.safeParse(text)
    if (result.success) return result.data
    throw new InvalidArgumentError(result.error.issues[0]?.message ?? '')
  }
}

export function whole(text: string): number {
  if (/^-?\d{1,15}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('expected a whole number')
}

export function atLeastOne(text: string): number {
  const value = whole(text)
  if (value >= 1) return value
  throw new InvalidArgumentError('expected a whole number from 1')
}

export function number(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && Number.isFinite(value)) return value
  throw new InvalidArgumentError('expected a number')
}

const SECONDS = { '': 1, s: 1, m: 60, h: 3600, d: 86_400 } as const

/** `90`, `90s`, `15m`, `2h`, `7d`. @returns seconds */
export function seconds(text: string): number {
  const [, value, unit] = /^(\d{1,9})([smhd]?)$/.exec(text) ?? []
  if (value === undefined) throw new InvalidArgumentError('expected a duration such as 90s, 15m, 2h or 7d')
  return Number(value) * SECONDS[unit as keyof typeof SECONDS]
}

/** `KEY=VALUE`, as often as it is given; a later one counts. */
export function pair(text: string, before: Readonly<Record<string, string>> = {}): Record<string, string> {
  const at = text.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('expected KEY=VALUE')
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) }
}

/** `KEY=VALUE`, or `KEY` for the value it has here, which keeps it out of the process list. */
export function variable(
  text: string,
  before: Readonly<Record<string, string>> = {},
): Record<string, string> {
  if (text.includes('=')) return pair(text, before)
  const value = process.env[text]
  if (value === undefined) throw new InvalidArgumentError(`there is no ${text} in the environment`)
  return { ...before, [text]: value }
}

/** Lines of `KEY=VALUE`. */
export function variablesOf(file: string): Record<string, string> {
  try {
    return Object.fromEntries(
      Object.entries(parseEnv(readFileSync(file, 'utf8'))).flatMap(([key, value]) =>
        value === undefined ? [] : [[key, value]],
      ),
    )
  } catch (error) {
    throw usage(`--env-file: cannot be read: ${error instanceof Error ? error.message : String(error)}`)
  }
}
