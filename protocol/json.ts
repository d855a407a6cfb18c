import { JSON_DEPTH_LIMIT } from './limits.ts'

/** A schema's copy of a body would lose this key without a word, so the caller is told instead. */
const LOST_KEY = '__proto__'

/**
 * Parses JSON that came from outside, refusing nesting beyond the contract's depth before any schema walks it,
 * and a key that no schema could see.
 * @returns the value, or a sentence that says what is wrong with the text
 */
export function parseJson(text: string): { ok: true; value: unknown } | { ok: false; message: string } {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return { ok: false, message: 'the body is not valid JSON' }
  }
  const wrong = problemIn(value)
  return wrong === null ? { ok: true, value } : { ok: false, message: wrong }
}

function problemIn(root: unknown): string | null {
  let level: object[] = onlyObjects([root])
  for (let depth = 1; level.length > 0; depth++) {
    if (depth > JSON_DEPTH_LIMIT) return `the body is nested deeper than ${JSON_DEPTH_LIMIT}`
    if (level.some(value => Object.hasOwn(value, LOST_KEY))) return `the key "${LOST_KEY}" is not allowed`
    level = level.flatMap(value => onlyObjects(Object.values(value)))
  }
  return null
}

function onlyObjects(values: readonly unknown[]): object[] {
  return values.filter(value => typeof value === 'object' && value !== null)
}
