import { backoffMs } from '../api/backoff.ts'
import { type Clock, jittered } from '../clock.ts'
import type { Executor } from '../executors/executor.ts'
import { type Log, reasonOf } from '../log.ts'
import { SettingsError } from '../settings-error.ts'
import type { Latch } from './latch.ts'
import type { Observation } from './ledger-types.ts'

/** Ends are seen as they happen; a listing finds what was missed, and what others removed. */
const INTERVAL_MS = 30_000
const RETRY_CAP_MS = 5_000

export interface InventoryLoopParts {
  readonly executor: Executor
  readonly clock: Clock
  readonly log: Log
  readonly observe: (seen: Observation) => void
  /** Raised by whoever doubts what is known. */
  readonly doubt: Latch
}

/** Lists what exists of this installation, again and again; says so when it cannot. */
export async function inventoryLoop(parts: InventoryLoopParts, signal: AbortSignal): Promise<void> {
  const { executor, clock, log, observe, doubt } = parts
  let failures = 0
  while (!signal.aborted) {
    const asOfMs = clock.now()
    try {
      await executor.ready()
      observe({ type: 'listing', asOfMs, found: await executor.list() })
      if (failures > 0) log.info({ failures }, 'the Docker Engine answers again; taking work')
      failures = 0
    } catch (error) {
      if (error instanceof SettingsError) throw error
      failures += 1
      observe({ type: 'listing_failed' })
      const line = { failures, error: reasonOf(error) }
      if (failures === 1) {
        log.error(
          line,
          'the Docker Engine cannot be asked, so no new work is taken until it answers: check that it runs',
        )
      } else log.debug(line, 'the Docker Engine still cannot be asked')
    }
    const pauseMs =
      failures === 0 ? jittered(INTERVAL_MS) : backoffMs(failures, 200, Math.random, RETRY_CAP_MS)
    await doubt.wait(pauseMs, signal)
  }
}
