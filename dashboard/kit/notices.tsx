import { useSyncExternalStore } from 'react'

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

export function Notices() {
  const shown = useSyncExternalStore(
    watch => {
      watchers.add(watch)
      return () => watchers.delete(watch)
    },
    () => notices,
  )
  return (
    <div className="notices" role="status" aria-live="polite">
      {shown.map(({ id, text, isBad }) => (
        <p key={id} className={isBad ? 'bad' : ''}>
          {text}
        </p>
      ))}
    </div>
  )
}
