import type { OtlpTarget } from '../../durable-objects/settings.ts'
import { WORKER_INSTRUMENTS } from '../../durable-objects/telemetry/instruments.ts'
import { MetricsExport } from '../../durable-objects/telemetry/metrics-export.ts'
import type { ErrorCode } from '../../protocol/errors.ts'

/**
 * What the Worker counts, for as long as its isolate lives. Whoever has recorded something keeps the isolate alive by
 * `waitUntil` until it is delivered: one request carries it for all that come meanwhile, so there is one export at a
 * time however many requests there are, and no isolate goes idle with anything undelivered while the back end answers.
 *
 * Nothing is waited for but by that one request's own timers and calls, because a promise of another request may never
 * be settled: that request may have been cut off. Then the next one takes over.
 */

/** Requests of a busy second share an export. */
const GATHER_MS = 1_000
const RETRY_FIRST_MS = 1_000
/** A Worker has thirty seconds after its answer, and the last export may take five of them. */
const CARRY_LIMIT_MS = 20_000
const LOOK_MS = 100
/** A carrier that has not ended by then never will. */
const CARRIER_LOST_MS = 30_000

export class WorkerMetrics {
  readonly #export: MetricsExport
  readonly #of
  /** Until then a request is at work on what is undelivered. */
  #carriedUntil = 0

  constructor(target: OtlpTarget) {
    this.#export = new MetricsExport(target, crypto.randomUUID())
    this.#of = {
      syncRequests: this.#export.counter(WORKER_INSTRUMENTS.syncRequests),
      syncFailures: this.#export.counter(WORKER_INSTRUMENTS.syncFailures),
      syncDuration: this.#export.histogram(WORKER_INSTRUMENTS.syncDuration),
      registrationFailures: this.#export.counter(WORKER_INSTRUMENTS.registrationFailures),
    }
  }

  /** @param error why it was refused; null when it was answered */
  syncEnded(poolId: string, error: ErrorCode | null): void {
    const pool = knownPool(poolId, error)
    this.#of.syncRequests.add(1, pool)
    if (error !== null) this.#of.syncFailures.add(1, { ...pool, 'error.type': error })
  }

  syncTook(poolId: string, durationMs: number, error: ErrorCode | null): void {
    this.#of.syncDuration.record(durationMs, knownPool(poolId, error))
  }

  /** @param poolId the one that was named; there is such a pool unless the error says otherwise */
  registrationFailed(poolId: string | null, error: ErrorCode): void {
    const pool = poolId === null || error === 'not_found' ? {} : { pool: poolId }
    this.#of.registrationFailures.add(1, { ...pool, 'error.type': error })
  }

  /** Delivers what there is, if nobody is at it. */
  flush(waitUntil: (work: Promise<void>) => void): void {
    if (!this.#export.isPending || Date.now() < this.#carriedUntil) return
    this.#carriedUntil = Date.now() + CARRIER_LOST_MS
    waitUntil(this.#carry())
  }

  /** Resolves when everything is delivered or a carrier's time is over: for a process that is about to end. */
  async settle(): Promise<void> {
    for (let passedMs = 0; passedMs < CARRY_LIMIT_MS && this.#export.isPending; passedMs += LOOK_MS) {
      if (Date.now() >= this.#carriedUntil) return void (await this.#export.send())
      await new Promise(resolve => setTimeout(resolve, LOOK_MS))
    }
  }

  async #carry(): Promise<void> {
    let pauseMs = GATHER_MS
    for (let passedMs = 0; passedMs + pauseMs <= CARRY_LIMIT_MS && this.#export.isPending; ) {
      await new Promise(resolve => setTimeout(resolve, pauseMs))
      const began = Date.now()
      const { outcome } = await this.#export.send()
      passedMs += pauseMs + Date.now() - began
      pauseMs = outcome !== 'failed' ? GATHER_MS : Math.max(RETRY_FIRST_MS, pauseMs * 2)
    }
    this.#carriedUntil = 0
  }
}

/** Anybody can name any pool: a sync is counted by pool only where the credential was found to be of it. */
const UNCONFIRMED: ReadonlySet<ErrorCode> = new Set(['unauthenticated', 'not_found', 'rate_limited'])

function knownPool(poolId: string, error: ErrorCode | null): { pool?: string } {
  return error !== null && UNCONFIRMED.has(error) ? {} : { pool: poolId }
}
