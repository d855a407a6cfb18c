import type { Page } from '../../protocol/admin-api.ts'
import { PAGE_DEFAULT, PAGE_MAX } from '../../protocol/limits.ts'
import { CommandFailure } from '../failure.ts'

export interface Bound {
  /** Items at most; infinite for all there are. */
  readonly limit: number
  readonly cursor: string | null
}

export type PageQuery = { readonly limit: number; readonly cursor: string | undefined }

/** @throws CommandFailure when both are given */
export function boundOf(given: {
  limit?: number | undefined
  all?: boolean | undefined
  cursor?: string | undefined
}): Bound {
  if (given.all === true && given.limit !== undefined) {
    throw new CommandFailure({ kind: 'usage', detail: '--limit and --all exclude each other' })
  }
  return {
    limit: given.all === true ? Number.POSITIVE_INFINITY : (given.limit ?? PAGE_DEFAULT),
    cursor: given.cursor ?? null,
  }
}

/**
 * Follows `next_cursor` for as many items as are wanted. What is left is where the list can be gone on with.
 * @param pageMax the largest page the list gives
 */
export async function pages<Item>(
  fetchPage: (query: PageQuery) => Promise<Page<Item>>,
  { limit, cursor }: Bound,
  pageMax = PAGE_MAX,
): Promise<Page<Item>> {
  const items: Item[] = []
  const seen = new Set<string>()
  let next = cursor
  do {
    const page = await fetchPage({
      limit: Math.min(pageMax, limit - items.length),
      cursor: next ?? undefined,
    })
    items.push(...page.items)
    next = page.next_cursor
    if (next !== null && seen.has(next)) {
      const detail = 'the list leads back to a page that was read before'
      throw new CommandFailure({ kind: 'unexpected', call: 'a list', status: 200, detail })
    }
    if (next !== null) seen.add(next)
  } while (next !== null && items.length < limit)
  return { items, next_cursor: next }
}
