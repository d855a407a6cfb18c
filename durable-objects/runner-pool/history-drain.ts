import { logLine, reasonOf } from '../log.ts'
import type { PoolParts } from './awake-pool.ts'
import type { PoolRecord } from './core/model.ts'
import { drainOutbox, drainRetryMs } from './outbox-drain.ts'
import { projectRuns } from './projection.ts'

/** An object has one alarm at a time: while D1 is slow, leases still have to end. The drain goes on behind it. */
const DRAIN_WAIT_MS = 1_000

/** Brings the outbox to D1, one drain at a time, and remembers how often in a row that has failed. */
export class HistoryDrain {
  readonly #pool: PoolRecord
  readonly #parts: Pick<PoolParts, 'storage' | 'store' | 'database'>
  #failures = 0
  #running: Promise<boolean> | null = null

  constructor(pool: PoolRecord, parts: Pick<PoolParts, 'storage' | 'store' | 'database'>) {
    this.#pool = pool
    this.#parts = parts
  }

  /** Never throws. @returns whether D1 has everything; false also when it has not said so within a second */
  async inTime(): Promise<boolean> {
    let timer: ReturnType<typeof setTimeout> | undefined
    const late = new Promise<boolean>(resolve => {
      timer = setTimeout(() => resolve(false), DRAIN_WAIT_MS)
    })
    try {
      return await Promise.race([this.#drain(), late])
    } finally {
      clearTimeout(timer)
    }
  }

  get isFailing(): boolean {
    return this.#failures > 0
  }

  /** How long to leave D1 alone after a drain that left something over. */
  retryMs(): number {
    return drainRetryMs(this.#failures, Math.random())
  }

  #drain(): Promise<boolean> {
    this.#running ??= this.#drainOnce().finally(() => {
      this.#running = null
    })
    return this.#running
  }

  async #drainOnce(): Promise<boolean> {
    const { poolId, tenantId } = this.#pool
    const { storage, store, database } = this.#parts
    try {
      const done = await drainOutbox({
        poolId,
        tenantId,
        store,
        failures: this.#failures,
        project: projections => projectRuns(database(), projections),
        transaction: work => storage.transactionSync(work),
      })
      this.#failures = 0
      return done
    } catch (error) {
      this.#failures += 1
      // Nothing is lost: what D1 has not confirmed stays in the outbox.
      logLine('warn', 'history_not_saved', {
        pool_id: poolId,
        failures: this.#failures,
        reason: reasonOf(error),
      })
      return false
    }
  }
}
