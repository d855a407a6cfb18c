/**
 * Which page a person would be looking at. Pure: a list, newest to the front first, and what Chromium says about it.
 *
 * Chromium has no event for "this tab was activated", but it tells of each page that is cast whether it is visible. A
 * page comes to the front when it opens and whenever it becomes visible; the active one is the foremost that is seen.
 */
export interface Page {
  readonly targetId: string
  readonly sessionId: string
  /** Null until Chromium has said so: a page may open in the background. */
  readonly visible: boolean | null
  /** What drew it is gone; it shows nothing until it is loaded again. */
  readonly crashed: boolean
}

export type Pages = readonly Page[]

export function opened(pages: Pages, targetId: string, sessionId: string): Pages {
  return [
    { targetId, sessionId, visible: null, crashed: false },
    ...pages.filter(page => page.targetId !== targetId),
  ]
}

export function closed(pages: Pages, sessionId: string): Pages {
  return pages.filter(page => page.sessionId !== sessionId)
}

/** Only a change brings a page to the front: every new cast says anew what is known already. */
export function seen(pages: Pages, sessionId: string, visible: boolean): Pages {
  const page = pages.find(one => one.sessionId === sessionId)
  if (page === undefined || page.visible === visible) return pages
  const now = { ...page, visible }
  if (visible && page.visible === false) return [now, ...pages.filter(one => one !== page)]
  return pages.map(one => (one === page ? now : one))
}

export function crashed(pages: Pages, sessionId: string, isCrashed: boolean): Pages {
  return pages.map(page => (page.sessionId === sessionId ? { ...page, crashed: isCrashed } : page))
}

/** Falls back to what may be visible, and to any page at all: a still picture is better than none. */
export function activeOf(pages: Pages): Page | null {
  return (
    pages.find(page => page.visible === true) ?? pages.find(page => page.visible === null) ?? pages[0] ?? null
  )
}

/** Why nothing can be shown of these pages, or null. */
export function blankOf(pages: Pages): 'no_page' | 'page_crashed' | null {
  const active = activeOf(pages)
  if (active === null) return 'no_page'
  return active.crashed ? 'page_crashed' : null
}
