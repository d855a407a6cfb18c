import type { UseInfiniteQueryResult } from '@tanstack/react-query'
import type { ReactNode } from 'react'
import { messageOf } from '../api/client.ts'
import { Button } from './button.tsx'
import { Trouble } from './trouble.tsx'
import { usePages } from './use-pages.ts'

interface Pages<Item> {
  readonly pages: readonly { readonly items: readonly Item[] }[]
}

interface ListProps<Item> {
  readonly query: UseInfiniteQueryResult<Pages<Item>>
  /** In the address, where a page has several lists. */
  readonly name?: string
  /** Names that its rows show are not there yet: rows that change when they come would jump. */
  readonly awaitsNames?: boolean
  /** What to do when there is nothing yet. */
  readonly empty: ReactNode
  readonly children: (items: readonly Item[]) => ReactNode
}

/** A list that is read page by page. What is on screen stays there while it is asked for again. */
export function List<Item>({ query, name = 'pages', awaitsNames = false, empty, children }: ListProps<Item>) {
  const { isReturning, showMore } = usePages(query, name)
  if (query.data === undefined || awaitsNames || isReturning) {
    return query.isError ? <Trouble>{messageOf(query.error)}</Trouble> : <Loading />
  }
  const items = query.data.pages.flatMap(page => page.items)
  if (items.length === 0) return <div className="empty">{empty}</div>
  return (
    <>
      {children(items)}
      {query.hasNextPage && (
        <p className="more">
          <Button busy={query.isFetchingNextPage} onClick={showMore}>
            Show more
          </Button>
        </p>
      )}
    </>
  )
}

/** Nothing is shown for the first moment: most answers are quicker. */
export function Loading() {
  return (
    <p className="loading" role="status">
      Loading …
    </p>
  )
}
