import type { Failure } from '../failure.ts'

/** Whether a call may be made again when nobody knows what became of it. */
export type Repeat =
  /** It changes nothing, or comes to the same however often it is made. */
  | 'safe'
  /** Made twice it would do its work twice; only an answer that says "not now" lets it be made again. */
  | 'once'

/** One more is not going to help, and whoever waits at the terminal wants to know. */
const ATTEMPTS = 4
const BASE_MS = 500
const CAP_MS = 8_000
/** A server that wants more patience than this is better asked by hand. */
const RETRY_AFTER_CAP_MS = 30_000

/** What a proxy or a control plane that is being replaced answers. */
const PASSING_STATUSES: ReadonlySet<number> = new Set([429, 502, 503, 504])

/** Whether the same call may well succeed a moment later. */
export function isPassing(failure: Failure): boolean {
  switch (failure.kind) {
    case 'unreachable':
      return true
    case 'unexpected':
      return PASSING_STATUSES.has(failure.status)
    case 'refused':
      return failure.problem.code === 'rate_limited' || failure.problem.code === 'overloaded'
    case 'usage':
    case 'unknown_name':
      return false
  }
}

/** The call was turned away at the door. */
function isSurelyUndone(failure: Failure): boolean {
  return failure.kind === 'refused' && failure.problem.code === 'rate_limited'
}

/**
 * @param attempt how many were made, from 1
 * @returns how long to wait before the next, or null when there is to be none
 */
export function pauseBeforeRetry(
  failure: Failure,
  { attempt, repeat }: { attempt: number; repeat: Repeat },
  random: () => number,
): number | null {
  if (attempt >= ATTEMPTS || !isPassing(failure)) return null
  if (repeat === 'once' && !isSurelyUndone(failure)) return null
  return backoffMs(attempt, failure, random)
}

/** Full jitter, with what the server asked for as its floor. @param failures in a row, from 1 */
export function backoffMs(failures: number, failure: Failure, random: () => number): number {
  const asked = failure.kind === 'refused' ? Math.min(failure.retryAfterMs, RETRY_AFTER_CAP_MS) : 0
  return Math.max(asked, random() * Math.min(CAP_MS, BASE_MS * 2 ** Math.min(failures - 1, 20)))
}
