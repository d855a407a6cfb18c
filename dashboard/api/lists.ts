import { infiniteQueryOptions } from '@tanstack/react-query'
import type * as z from 'zod'
import { pageOf } from '../../protocol/admin-api.ts'
import { call } from './client.ts'
import { REFRESH_MS } from './query-client.ts'

const PAGE_SIZE = 50

/**
 * A list that is read page by page, newest first; what was read is asked for again in its rhythm.
 * @param path below `/api/v1`, with or without a query
 */
export function listQuery<Item extends z.ZodType>(
  queryKey: readonly unknown[],
  path: string,
  item: Item,
  refetchInterval: number = REFRESH_MS,
) {
  return infiniteQueryOptions({
    queryKey,
    queryFn: ({ pageParam, signal }) => call(pageAt(path, pageParam), pageOf(item), { signal }),
    initialPageParam: null as string | null,
    getNextPageParam: last => last.next_cursor,
    refetchInterval,
  })
}

function pageAt(path: string, cursor: string | null): string {
  const query = `limit=${PAGE_SIZE}${cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`}`
  return `${path}${path.includes('?') ? '&' : '?'}${query}`
}
