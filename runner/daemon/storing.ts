import { backoffMs } from '../api/backoff.ts'
import { sleep } from '../clock.ts'
import { type Log, reasonOf } from '../log.ts'
import type { HealthState } from './health.ts'

const RETRY_CAP_MS = 30_000
export const STATE_REMEDY =
  'free space on the disk of RUNNER_STATE_DIR, or mend its permissions; the runner goes on by itself then'

/**
 * Does what the process cannot go on without, however long the disk is full: a process that ended would be restarted
 * into the same. @returns null on abort
 */
export async function untilStored<T>(
  what: string,
  work: () => Promise<T>,
  { log, health }: { readonly log: Log; readonly health: HealthState },
  signal: AbortSignal,
): Promise<T | null> {
  for (let failures = 1; !signal.aborted; failures++) {
    try {
      const value = await work()
      health.set('state', null)
      return value
    } catch (error) {
      const reason = `${what} cannot be stored in RUNNER_STATE_DIR`
      const pauseMs = backoffMs(failures, 500, Math.random, RETRY_CAP_MS)
      const line = { error: reasonOf(error), remedy: STATE_REMEDY, retry_in_ms: Math.round(pauseMs) }
      log.error(line, `${reason}; trying again`)
      health.set('state', `${reason}: ${reasonOf(error)}`)
      await sleep(pauseMs, signal)
    }
  }
  return null
}
