import type { UseInfiniteQueryResult } from '@tanstack/react-query'
import { useEffect, useState } from 'react'
import { useSearchParams } from 'wouter'

/** Who comes back to more has scrolled very far, or has typed the number. */
const MOST_PAGES = 20

/**
 * How many pages of a list are shown is in the address, so that whoever comes back to it, or opens a link to it, sees
 * as many.
 * @param name of the list in the address
 */
export function usePages(
  query: UseInfiniteQueryResult<{ readonly pages: readonly unknown[] }>,
  name: string,
): { readonly isReturning: boolean; readonly showMore: () => void } {
  const { data, hasNextPage, isFetchingNextPage, isFetchNextPageError, fetchNextPage } = query
  const [search, setSearch] = useSearchParams()
  const [asked] = useState(() => Math.min(Number(search.get(name)) || 1, MOST_PAGES))
  const read = data?.pages.length ?? 0
  const [hasReturned, setReturned] = useState(read >= asked)
  const isReturning = !hasReturned && read < asked && hasNextPage && !isFetchNextPageError
  useEffect(() => {
    if (isReturning && !isFetchingNextPage) void fetchNextPage()
    if (read > 0 && !isReturning) setReturned(true)
  }, [isReturning, isFetchingNextPage, fetchNextPage, read])
  const showMore = () => {
    void fetchNextPage()
    const more = (before: URLSearchParams) => {
      before.set(name, String(read + 1))
      return before
    }
    setSearch(more, { replace: true })
  }
  return { isReturning, showMore }
}
