import { useSyncExternalStore } from 'react'
import { serverNow } from '../api/clock.ts'

/** One clock for everything on the page that ticks. */
let now = serverNow()
const watchers = new Set<() => void>()
let timer: ReturnType<typeof setInterval> | undefined

function subscribe(watcher: () => void): () => void {
  watchers.add(watcher)
  if (timer === undefined) {
    now = serverNow()
    timer = setInterval(() => {
      now = serverNow()
      for (const watch of watchers) watch()
    }, 1000)
  }
  return () => {
    watchers.delete(watcher)
    if (watchers.size > 0) return
    clearInterval(timer)
    timer = undefined
  }
}

export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now)
}

/** How long ago, or how far ahead, as it ticks; the exact time on hovering. */
export function Ago({ at }: { readonly at: string | null }) {
  const current = useNow()
  if (at === null) return <span>never</span>
  const seconds = Math.round((current - Date.parse(at)) / 1000)
  return (
    <time dateTime={at} title={new Date(at).toLocaleString()}>
      {seconds < -1 ? `in ${duration(-seconds)}` : `${duration(Math.max(0, seconds))} ago`}
    </time>
  )
}

/** Since then, as it ticks, or between two times. */
export function Elapsed({ from, to }: { readonly from: string; readonly to: string | null }) {
  const current = useNow()
  const end = to === null ? current : Date.parse(to)
  return <span>{duration(Math.max(0, Math.round((end - Date.parse(from)) / 1000)))}</span>
}

/** @param seconds whole, not negative */
export function duration(seconds: number): string {
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`
}
