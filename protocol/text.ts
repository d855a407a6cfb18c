import * as z from 'zod'
import { LABEL_LIMIT_CHARS, LABEL_LIMIT_ITEMS, NAME_LIMIT_CHARS, NOTE_LIMIT_CHARS } from './limits.ts'

/**
 * Text people type. Any script and any emoji is welcome; control characters and lone surrogates are not,
 * because they break logs, terminals and JSON parsers downstream.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: refusing control characters is the point
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/

export function plainText(maxChars: number) {
  return z
    .string()
    .max(maxChars)
    .refine(text => !CONTROL.test(text), 'control characters are not allowed')
    .refine(text => text.isWellFormed(), 'the text is not well-formed Unicode')
}

export const Name = plainText(NAME_LIMIT_CHARS)
  .trim()
  .refine(name => name.length > 0, 'must not be empty')

export const Note = plainText(NOTE_LIMIT_CHARS)

/** `k=v` pairs. Keys cannot hold `=` or `,`, so that RUNNER_LABELS can always express them. */
export const Labels = z
  .record(
    plainText(LABEL_LIMIT_CHARS).refine(
      key => /^[^=,\s][^=,]*$/.test(key),
      'must not be empty or hold "=" or ","',
    ),
    plainText(LABEL_LIMIT_CHARS).refine(value => !value.includes(','), 'must not hold ","'),
  )
  .refine(labels => Object.keys(labels).length <= LABEL_LIMIT_ITEMS, `at most ${LABEL_LIMIT_ITEMS} labels`)
export type Labels = Readonly<Record<string, string>>

/** RFC 3339 in UTC with milliseconds, the only form this API writes. */
export const Timestamp = z.iso.datetime({ precision: 3 })

/** @param ms epoch milliseconds */
export function timestamp(ms: number): string {
  return new Date(ms).toISOString()
}

/** @param ms epoch milliseconds, or null for "not yet" */
export function timestampOrNull(ms: number | null): string | null {
  return ms === null ? null : timestamp(ms)
}
