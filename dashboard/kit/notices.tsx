import { useEffect, useSyncExternalStore } from 'react'

/** What an action did, said for a while in a corner, and read out. */

const SHOWN_MS = 6_000
interface Notice {
  readonly id: number
  readonly text: string
  readonly isBad: boolean
}

let notices: readonly Notice[] = []
let lastId = 0
const watchers = new Set<() => void>()

function set(next: readonly Notice[]): void {
  notices = next
  for (const watch of watchers) watch()
}

export function say(text: string, isBad = false): void {
  const id = ++lastId
  set([...notices, { id, text, isBad }])
  setTimeout(() => set(notices.filter(notice => notice.id !== id)), SHOWN_MS)
}

/** A dialog lies above everything but what is shown after it. */
export function raiseNotices(): void {
  const place = document.querySelector<HTMLElement>('.notices')
  if (place === null || place.childElementCount === 0) return
  place.hidePopover()
  place.showPopover()
}

export function Notices() {
  const shown = useSyncExternalStore(
    watch => {
      watchers.add(watch)
      return () => watchers.delete(watch)
    },
    () => notices,
  )
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new one is what has to be seen
  useEffect(raiseNotices, [shown])
  return (
    <div className="notices" popover="manual" role="status" aria-live="polite">
      {shown.map(({ id, text, isBad }) => (
        <p key={id} className={isBad ? 'bad' : ''}>
          {text}
        </p>
      ))}
    </div>
  )
}
