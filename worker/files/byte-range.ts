export type ByteRange =
  | { readonly kind: 'whole' }
  | { readonly kind: 'part'; readonly start: number; readonly end: number }
  | { readonly kind: 'unsatisfiable' }

/**
 * What a `Range` header asks of `length` bytes (RFC 9110, 14.2). Several ranges, other units and nonsense read as no
 * range at all. @returns `end` behind the last byte
 */
export function rangeOf(header: string | null, length: number): ByteRange {
  const [, first, last] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '') ?? []
  if (first === undefined || last === undefined || (first === '' && last === '')) return { kind: 'whole' }
  if (first === '') {
    const start = Math.max(0, length - Number(last))
    return Number(last) === 0 || length === 0
      ? { kind: 'unsatisfiable' }
      : { kind: 'part', start, end: length }
  }
  const start = Number(first)
  if (last !== '' && Number(last) < start) return { kind: 'whole' }
  if (start >= length) return { kind: 'unsatisfiable' }
  return { kind: 'part', start, end: last === '' ? length : Math.min(length, Number(last) + 1) }
}
