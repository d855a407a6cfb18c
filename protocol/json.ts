import { JSON_DEPTH_LIMIT } from './limits.ts'

/**
 * Parses JSON that came from outside, refusing nesting beyond the contract's depth before any schema walks it.
 * @returns the value, or a sentence that says what is wrong with the text
 */
export function parseJson(text: string): { ok: true; value: unknown } | { ok: false; message: string } {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return { ok: false, message: 'the body is not valid JSON' }
  }
  if (!isShallow(value)) return { ok: false, message: `the body is nested deeper than ${JSON_DEPTH_LIMIT}` }
  return { ok: true, value }
}

function isShallow(root: unknown): boolean {
  let level: unknown[] = [root]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > JSON_DEPTH_LIMIT) return false
    level = level.flatMap(value => (typeof value === 'object' && value !== null ? Object.values(value) : []))
  }
  return true
}
