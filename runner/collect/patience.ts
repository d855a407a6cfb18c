import type { ERRORS } from '../../protocol/errors.ts'
import { backoffMs } from '../api/backoff.ts'
import type { ApiFailure } from '../api/client.ts'
import { type Clock, sleep } from '../clock.ts'

export const RETRY_CAP_MS = 15_000
/** After the session's end, without anything taken for so long: the control plane takes nothing by then. */
const PATIENCE_MS = 30 * 60_000

/** Refusals that may pass. */
const PASSING = new Set<keyof typeof ERRORS>(['overloaded', 'rate_limited', 'unauthenticated'])

/** For how long what a session leaves is offered to a control plane that does not take it. */
export class Patience {
  readonly #clock: Clock
  #sinceMs: number | null = null

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The session has ended. */
  begin(): void {
    this.#sinceMs ??= this.#clock.now()
  }

  /** Something was taken. */
  renew(): void {
    if (this.#sinceMs !== null) this.#sinceMs = this.#clock.now()
  }

  isOver(): boolean {
    return this.#sinceMs !== null && this.#clock.now() > this.#sinceMs + PATIENCE_MS
  }

  /** Waits before the next attempt. @param failures in a row, from 1 @returns false when there is to be none */
  async mayTryAgain(failure: ApiFailure, failures: number, signal: AbortSignal): Promise<boolean> {
    const isFinal = failure.kind === 'refused' && !PASSING.has(failure.problem.code)
    if (signal.aborted || isFinal || this.isOver()) return false
    const retryAfterMs = failure.kind === 'unreachable' ? 0 : Math.min(failure.retryAfterMs, RETRY_CAP_MS)
    await sleep(backoffMs(failures, retryAfterMs, Math.random, RETRY_CAP_MS), signal)
    return !signal.aborted
  }
}
