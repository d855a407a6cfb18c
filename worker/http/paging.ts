import { z } from 'zod'
import type { Page } from '../../protocol/admin-api.ts'
import type { IdKind } from '../../protocol/ids.ts'
import { ID_PREFIXES } from '../../protocol/ids.ts'
import { NAME_LIMIT_CHARS, PAGE_DEFAULT, PAGE_MAX } from '../../protocol/limits.ts'
import { plainText } from '../../protocol/text.ts'

/** One page of a list: how many items at most, and the key of the last item the caller has seen. */
export interface PageRequest {
  readonly limit: number
  readonly after: string | null
}

const CURSOR_LIMIT_CHARS = 256

const LIMIT_EXPECTED = `expected a whole number from 1 to ${PAGE_MAX}`
const Limit = z
  .string()
  .regex(/^[1-9][0-9]{0,3}$/, LIMIT_EXPECTED)
  .transform(Number)
  .refine(value => value <= PAGE_MAX, LIMIT_EXPECTED)
  .default(PAGE_DEFAULT)
  .meta({ type: 'integer', minimum: 1, maximum: PAGE_MAX, default: PAGE_DEFAULT })

/** `?limit=&cursor=` of a list that is ordered by id. */
export function idPageQuery(kind: IdKind) {
  const known = new RegExp(`^${ID_PREFIXES[kind]}_[0-7][0-9a-hjkmnp-tv-z]{25}$`)
  return { limit: Limit, cursor: cursorOf(text => known.test(text)).optional() }
}

/** `?name=&id=` of a list of named things: those whose name has this in it, and those of these ids. */
export function namedQuery(id: z.ZodType<string, string>) {
  return {
    name: plainText(NAME_LIMIT_CHARS)
      .optional()
      .meta({ type: 'string', description: 'Only those whose name has this in it, in any case' }),
    id: z
      .string()
      .transform(text => text.split(','))
      .pipe(z.array(id).max(PAGE_DEFAULT))
      .optional()
      .meta({
        type: 'string',
        description: `Only these, up to ${PAGE_DEFAULT} ids with commas between them`,
      }),
  }
}

/** `?limit=&cursor=` of a list that is ordered by a sequence number. */
export function seqPageQuery() {
  return { limit: Limit, cursor: cursorOf(text => /^(0|[1-9][0-9]{0,14})$/.test(text)).optional() }
}

/** @param items up to `limit + 1` of them: one more than is shown tells whether there is a next page */
export function pageOfRows<Row, Item>(
  rows: readonly Row[],
  limit: number,
  keyOf: (row: Row) => string,
  itemOf: (row: Row) => Item,
): Page<Item> {
  const shown = rows.slice(0, limit)
  const last = shown.at(-1)
  return {
    items: shown.map(itemOf),
    next_cursor: rows.length > limit && last !== undefined ? encodeCursor(keyOf(last)) : null,
  }
}

/** `pageOfRows` for the common case of items that carry the id they are ordered by. */
export function pageById<Item extends { readonly id: string }>(
  items: readonly Item[],
  limit: number,
): Page<Item> {
  return pageOfRows(
    items,
    limit,
    item => item.id,
    item => item,
  )
}

/** A page of all of these, for a list that knows by itself how many fit. */
export function pageUpTo<Item extends { readonly id: string }>(items: Item[], isMore: boolean): Page<Item> {
  const last = items.at(-1)
  return { items, next_cursor: isMore && last !== undefined ? encodeCursor(last.id) : null }
}

function cursorOf(isKnown: (text: string) => boolean) {
  return z
    .string()
    .max(CURSOR_LIMIT_CHARS)
    .transform(text => decodeCursor(text) ?? '')
    .refine(isKnown, 'this cursor was not given out here')
    .meta({ type: 'string', description: '`next_cursor` of the page before' })
}

/** Opaque to callers, so that what a list is ordered by can change. */
export function encodeCursor(key: string): string {
  return btoa(key).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}

function decodeCursor(cursor: string): string | null {
  try {
    return atob(cursor.replaceAll('-', '+').replaceAll('_', '/'))
  } catch {
    return null
  }
}
