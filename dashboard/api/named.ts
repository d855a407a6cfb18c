import { keepPreviousData, queryOptions, useQueries, useQuery } from '@tanstack/react-query'
import * as z from 'zod'
import { pageOf } from '../../protocol/admin-api.ts'
import { PAGE_DEFAULT } from '../../protocol/limits.ts'
import { call } from './client.ts'
import { SLOW_REFRESH_MS } from './query-client.ts'

/** What has an id and a name, of which there may be more than can be read: found by the one or by the other. */

const NamedPage = pageOf(z.object({ id: z.string(), name: z.string() }))

export interface NamedSource {
  /** The newest whose name has the text in it, a page of them at most. */
  readonly matching: (text: string) => ReturnType<typeof pageQuery>
  /** @param ids a page of them at most */
  readonly among: (ids: readonly string[]) => ReturnType<typeof pageQuery>
}

/** @param path below `/api/v1`, with or without a query */
export function namedSource(key: string, path: string): NamedSource {
  return {
    matching: text => pageQuery(key, path, 'name', text),
    among: ids => pageQuery(key, path, 'id', ids.join(',')),
  }
}

function pageQuery(key: string, path: string, by: 'name' | 'id', wanted: string) {
  const query = `limit=${PAGE_DEFAULT}${wanted === '' ? '' : `&${by}=${encodeURIComponent(wanted)}`}`
  return queryOptions({
    queryKey: [key, 'named', path, by, wanted],
    queryFn: ({ signal }) => call(`${path}${path.includes('?') ? '&' : '?'}${query}`, NamedPage, { signal }),
    staleTime: SLOW_REFRESH_MS,
    refetchInterval: SLOW_REFRESH_MS,
    placeholderData: keepPreviousData,
  })
}

export interface Names {
  readonly names: ReadonlyMap<string, string>
  /** Nothing is known yet. */
  readonly isPending: boolean
  /** What has no name is not there any more. */
  readonly isWhole: boolean
}

/** The names of these: where a page holds not all there are, what is missing is asked for, a page at a time. */
export function useNames(source: NamedSource, ids: readonly string[]): Names {
  const first = useQuery(source.matching(''))
  const read = new Set(first.data?.items.map(({ id }) => id))
  const isAll = first.data === undefined || first.data.next_cursor === null
  const missing = isAll ? [] : [...new Set(ids)].filter(id => !read.has(id)).toSorted()
  const rest = useQueries({ queries: pagesOf(missing).map(source.among) })
  const items = [first, ...rest].flatMap(({ data }) => data?.items ?? [])
  return {
    names: new Map(items.map(({ id, name }) => [id, name])),
    isPending: first.isPending || (rest.length > 0 && rest.every(({ isPending }) => isPending)),
    isWhole: [first, ...rest].every(({ isSuccess, isPlaceholderData }) => isSuccess && !isPlaceholderData),
  }
}

function pagesOf(ids: readonly string[]): string[][] {
  const count = Math.ceil(ids.length / PAGE_DEFAULT)
  return Array.from({ length: count }, (_, page) => ids.slice(page * PAGE_DEFAULT, (page + 1) * PAGE_DEFAULT))
}
