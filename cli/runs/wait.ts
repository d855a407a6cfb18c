import { isTerminal, type Run } from '../../protocol/run.ts'
import { isPassing } from '../api/retry.ts'
import { CommandFailure, type Failure } from '../failure.ts'

/** A control plane that is away for longer than a deployment takes is reported. */
export const PATIENCE_MS = 5 * 60_000

export interface WaitParts {
  /** Fails as unreachable when the signal is aborted, so that nobody who leaves waits for an answer. */
  look(signal: AbortSignal): Promise<Run>
  cancel(signal: AbortSignal): Promise<Run>
  readonly interrupts: { readonly first: AbortSignal; readonly second: AbortSignal }
  readonly cancelOnInterrupt: boolean
  /** Of waiting, from the call on; null for as long as it takes. */
  readonly limitMs: number | null
  /** Told of the run each time it was looked at. */
  onLook(run: Run): Promise<void>
  /** Told when the control plane does not answer and is waited for. */
  onAway(failure: Failure): void
  onCancelled(): void
  readonly clock: Clock
}

export interface Clock {
  now(): number
  random(): number
  /** Ends early when one of the signals is aborted; never fails. */
  sleep(ms: number, signals: readonly AbortSignal[]): Promise<void>
}

export type WaitEnd =
  | { readonly how: 'ended'; readonly run: Run }
  /** Interrupted; the run goes on, or is being cancelled. */
  | { readonly how: 'left'; readonly isCancelling: boolean }
  | { readonly how: 'gave_up' }

/** Waits until the run has ended, or whoever waits has had enough. The run itself does not depend on it. */
export async function waitForRun(parts: WaitParts): Promise<WaitEnd> {
  const { interrupts, clock, limitMs } = parts
  const startedAt = clock.now()
  const seen: Seen = { run: null, changedAt: startedAt, answeredAt: startedAt }
  let isCancelling = false
  for (;;) {
    const isInterrupted = interrupts.first.aborted && !isCancelling
    if (interrupts.second.aborted || (isInterrupted && !parts.cancelOnInterrupt)) {
      return { how: 'left', isCancelling }
    }
    const run = await lookOnce(parts, seen, () =>
      isInterrupted
        ? parts.cancel(interrupts.second)
        : parts.look(isCancelling ? interrupts.second : interrupts.first),
    )
    if (run !== null && isInterrupted) {
      isCancelling = true
      parts.onCancelled()
    }
    if (run !== null && isTerminal(run.status)) return { how: 'ended', run }
    const left = limitMs === null ? Number.POSITIVE_INFINITY : startedAt + limitMs - clock.now()
    if (left <= 0) return { how: 'gave_up' }
    const pauseMs = lookAgainMs(clock.now() - seen.changedAt, clock.random)
    await clock.sleep(Math.min(pauseMs, left), [isCancelling ? interrupts.second : interrupts.first])
  }
}

interface Seen {
  run: Run | null
  changedAt: number
  answeredAt: number
}

/** @returns null when the control plane does not answer, and is worth waiting for */
async function lookOnce(parts: WaitParts, seen: Seen, ask: () => Promise<Run>): Promise<Run | null> {
  const { clock } = parts
  try {
    const run = await ask()
    seen.answeredAt = clock.now()
    if (seen.run?.status !== run.status || seen.run.attempt !== run.attempt) seen.changedAt = clock.now()
    seen.run = run
    await parts.onLook(run)
    return run
  } catch (error) {
    if (!(error instanceof CommandFailure) || !isPassing(error.failure)) throw error
    if (clock.now() - seen.answeredAt > PATIENCE_MS) throw error
    parts.onAway(error.failure)
    return null
  }
}

/** What has just changed will soon change again; many may wait with one key. @param ageMs since the last change */
export function lookAgainMs(ageMs: number, random: () => number): number {
  const everyMs = ageMs < 30_000 ? 1_000 : ageMs < 600_000 ? 2_000 : 5_000
  return Math.round(everyMs * (0.8 + 0.4 * random()))
}
