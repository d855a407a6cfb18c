import { setTimeout as sleep } from 'node:timers/promises'
import { type Child, type ChildOptions, type End, startChild } from './child.ts'

/**
 * A program that is started again when it dies: what it was doing is in its state folder, and sessions outlive a daemon.
 * One that gives up by itself right after its start has a reason that another start does not change, such as a wrong
 * setting; one that worked before is given some starts, because what is in its way may go away.
 */
const SHORT_LIFE_MS = 10_000
const STARTS_LIMIT = 5
const PAUSE_MS = 500
const PAUSE_CAP_MS = 15_000

export interface Life {
  readonly end: Pick<End, 'isKilled'>
  readonly ms: number
  /** Short ones before this one, in a row. */
  readonly shortBefore: number
  readonly isFirst: boolean
}

/** @returns how long to wait before the next start; null for none */
export function pauseAfter({ end, ms, shortBefore, isFirst }: Life): number | null {
  if (ms >= SHORT_LIFE_MS) return PAUSE_MS
  if (!end.isKilled && (isFirst || shortBefore + 1 >= STARTS_LIMIT)) return null
  return Math.min(PAUSE_CAP_MS, PAUSE_MS * 2 ** shortBefore)
}

/** @returns it; `ended` is about the last of its starts */
export function keepChild(options: ChildOptions): Child {
  const stopped = new AbortController()
  let current = startChild(options)
  const live = async (): Promise<End> => {
    let shortBefore = 0
    for (let isFirst = true; ; isFirst = false) {
      const began = performance.now()
      const end = await current.ended
      const ms = performance.now() - began
      const pauseMs = stopped.signal.aborted ? null : pauseAfter({ end, ms, shortBefore, isFirst })
      if (pauseMs === null) return end
      console.log(
        `The ${options.name} ended (${end.how}) and is started again; sessions go on. Its log: ${options.logFile}`,
      )
      shortBefore = ms < SHORT_LIFE_MS ? shortBefore + 1 : 0
      await sleep(pauseMs, undefined, { signal: stopped.signal }).catch(() => undefined)
      if (stopped.signal.aborted) return end
      current = startChild(options)
    }
  }
  const ended = live()
  return {
    ...current,
    ended,
    stop: async () => {
      stopped.abort()
      await current.stop()
      await ended
    },
  }
}
