import { backoffMs } from '../api/backoff.ts'
import { type Clock, jittered } from '../clock.ts'
import type { Executor } from '../executors/executor.ts'
import type { Latch } from '../latch.ts'
import { type Log, reasonOf } from '../log.ts'
import type { Observation } from '../session-types.ts'
import { SettingsError } from '../settings-error.ts'

/** Ends are seen as they happen; a listing finds what was missed, and what others removed. */
const INTERVAL_MS = 30_000
const RETRY_CAP_MS = 5_000

const UNANSWERED =
  'the Docker Engine cannot be asked, so no new work is taken until it answers: check that it runs'
const UNFIT =
  'this host no longer has what a setting names, so no new work is taken until it does: the error says which'

interface InventoryLoopParts {
  readonly executor: Executor
  readonly clock: Clock
  readonly log: Log
  readonly observe: (seen: Observation) => void
  /** Raised by whoever doubts what is known. */
  readonly doubt: Latch
}

/**
 * Lists what exists of this installation, again and again; says so when it cannot. A setting that does not fit this
 * host ends the loop only before the first listing: later there are sessions to be looked after.
 */
export async function inventoryLoop(parts: InventoryLoopParts, signal: AbortSignal): Promise<void> {
  const { executor, clock, log, observe, doubt } = parts
  let failures = 0
  let hasListed = false
  let complained = ''
  while (!signal.aborted) {
    const asOfMs = clock.now()
    try {
      await unlessAborted(executor.ready(signal), signal)
      const found = await unlessAborted(executor.list(signal), signal)
      observe({ type: 'listing', asOfMs, found })
      hasListed = true
      complained = ''
      if (failures > 0) log.info({ failures }, 'the sessions on this host can be listed again; taking work')
      failures = 0
    } catch (error) {
      if (signal.aborted) return
      if (error instanceof SettingsError && !hasListed) throw error
      failures += 1
      observe({ type: 'listing_failed' })
      const line = { failures, error: reasonOf(error) }
      const complaint = error instanceof SettingsError ? UNFIT : UNANSWERED
      if (complaint === complained) log.debug(line, complaint)
      else log.error(line, complaint)
      complained = complaint
    }
    const pauseMs =
      failures === 0 ? jittered(INTERVAL_MS) : backoffMs(failures, 200, Math.random, RETRY_CAP_MS)
    await doubt.wait(pauseMs, signal)
  }
}

/** An Engine that hangs must not hold up the end of the process, whatever the call does with its signal. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let onAbort: () => void = () => undefined
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason)
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
