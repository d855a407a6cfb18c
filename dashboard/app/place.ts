import { useEffect, useRef } from 'react'
import { type AroundNavHandler, useLocation } from 'wouter'
import * as z from 'zod'

/**
 * Going on shows a page from its top, going back shows it where it was left. How far down that is lies in the entry of
 * the browser's history, so that it outlives a page that is loaded anew.
 */

const Left = z.object({ top: z.number() })
/** Scrolling says so many times a second; browsers refuse to have their history written that often. */
const SETTLED_MS = 150
/** What is asked for on the way back has come by then, or does not come. */
const PATIENCE_MS = 10_000
/** Whoever does any of this wants to be elsewhere. */
const MOVES = ['wheel', 'touchstart', 'keydown', 'pointerdown'] as const

let returning: AbortController | null = null

/** Before anything is shown. */
export function keepPlaces(): void {
  history.scrollRestoration = 'manual'
  let settled: ReturnType<typeof setTimeout> | undefined
  addEventListener('scroll', () => {
    clearTimeout(settled)
    settled = setTimeout(keepPlace, SETTLED_MS)
  })
  addEventListener('popstate', returnToPlace)
  returnToPlace()
}

/** What replaces an entry, as a filter does, stays where it is. */
export const navigateFromPlace: AroundNavHandler = (navigate, to, options) => {
  returning?.abort()
  keepPlace()
  if (options?.replace === true) return navigate(to, { ...options, state: history.state })
  navigate(to, options)
  scrollTo(0, 0)
}

function keepPlace(): void {
  if (returning === null) history.replaceState({ ...history.state, top: Math.round(scrollY) }, '')
}

/** As soon as the page is long enough for it. */
function returnToPlace(): void {
  returning?.abort()
  const left = Left.safeParse(history.state)
  const top = left.success ? left.data.top : 0
  const search = new AbortController()
  const { signal } = search
  returning = search
  const grown = new ResizeObserver(() => {
    if (document.documentElement.scrollHeight - innerHeight < top) return
    scrollTo(0, top)
    search.abort()
  })
  signal.addEventListener('abort', () => {
    grown.disconnect()
    returning = null
  })
  for (const move of MOVES) addEventListener(move, () => search.abort(), { signal, passive: true })
  setTimeout(() => search.abort(), PATIENCE_MS)
  grown.observe(document.body)
}

/**
 * A page that goes takes the focus with it. On the one that comes it is put on what led to the other, where one has
 * gone back, or on the page itself.
 */
export function useFocusOnArrival(): void {
  const [location] = useLocation()
  const before = useRef(location)
  useEffect(() => {
    const from = before.current
    before.current = location
    const main = document.getElementById('main')
    const isElsewhere = document.activeElement !== document.body && document.activeElement !== main
    if (from === location || isElsewhere) return
    const way = main?.querySelector<HTMLElement>(`a[href="${CSS.escape(from)}"]`)
    const place = way ?? main
    place?.focus({ preventScroll: true })
  }, [location])
}
