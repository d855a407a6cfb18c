type Fields = Readonly<Record<string, string | number | boolean | null | readonly string[]>>

/**
 * One JSON object per line, the form Workers Logs indexes, with `time`, `level` and `msg` as the runner's lines have
 * them; `msg` is the event in words. Callers pass ids and codes, never bodies or headers.
 */
export function logLine(level: 'info' | 'warn' | 'error', event: string, fields: Fields = {}): void {
  const time = new Date().toISOString()
  console[level](JSON.stringify({ level, time, event, ...fields, msg: event.replaceAll('_', ' ') }))
}

const REASON_LIMIT_CHARS = 300

/**
 * What may be said of a thrown value. A failed query carries its parameters in its own message, so only the
 * innermost cause, which names the fault and not the data, is used.
 */
export function reasonOf(error: unknown): string {
  let innermost = error
  while (innermost instanceof Error && innermost.cause !== undefined) innermost = innermost.cause
  const text = innermost instanceof Error ? `${innermost.name}: ${innermost.message}` : typeof innermost
  return text.slice(0, REASON_LIMIT_CHARS)
}
