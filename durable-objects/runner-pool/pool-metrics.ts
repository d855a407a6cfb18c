import { type Attributes, type HrTime, ValueType } from '@opentelemetry/api'
import { AggregationTemporality, DataPointType, type MetricData } from '@opentelemetry/sdk-metrics'
import { TypeID } from 'typeid-js'
import { logLine, reasonOf } from '../log.ts'
import type { OtlpTarget } from '../settings.ts'
import {
  type Instrument,
  POOL_COUNTERS,
  POOL_GAUGES,
  POOL_INSTRUMENTS,
  type PoolCounter,
  type PoolGauge,
} from '../telemetry/instruments.ts'
import { MetricsExport } from '../telemetry/metrics-export.ts'
import type { PoolGauges } from './core/gauges.ts'
import type { Measured } from './core/measured.ts'
import type { PoolRecord } from './core/model.ts'
import type { CountBatch } from './store/counts.ts'
import type { PoolStore } from './store/store.ts'

/**
 * The metrics of one pool, and the only source of them: its object, whichever isolate it is awake in.
 *
 * - Facts that people are woken for (expired leases, relays that were waited for in vain) are counted in storage by the
 *   very transaction that makes them facts, and stay there until the back end has confirmed them: no eviction and no
 *   crash loses one. They are delivered at least once; what is delivered twice is the same point with the same times.
 * - Durations and ends of runs are in memory. Every one of them comes with an event of its run, whose alarm is a second
 *   away and sends them; a crash in that second loses them.
 * - Gauges are of the moment they are sent in.
 *
 * It is sent by the alarms that come anyway. Only counts that the back end did not take bring an alarm of their own,
 * the less often the longer they wait.
 */

/** An object has one alarm at a time: while the back end is slow, leases still have to end. The export goes on behind. */
const WAIT_MS = 1_000
const RETRY_FIRST_MS = 5_000
const RETRY_CAP_MS = 3_600_000
/** Exports that follow one another because something came meanwhile. */
const ROUNDS = 3

interface PoolMetricsParts {
  readonly store: Pick<PoolStore, 'counts'>
  readonly storage: Pick<DurableObjectStorage, 'transactionSync'>
}

export class PoolMetrics {
  readonly #parts: PoolMetricsParts
  readonly #export: MetricsExport
  readonly #attributes: Attributes
  readonly #createdAt: number
  readonly #of
  #gauges: { readonly at: number; readonly values: PoolGauges } | null = null
  /** No two points of a stream have the same time. */
  #lastAt = 0
  #running: Promise<void> | null = null

  constructor({ poolId, tenantId }: PoolRecord, target: OtlpTarget, parts: PoolMetricsParts) {
    this.#parts = parts
    this.#export = new MetricsExport(target, poolId)
    this.#attributes = { pool: poolId, tenant: tenantId }
    this.#createdAt = createdAt(poolId)
    this.#of = {
      pickupDuration: this.#export.histogram(POOL_INSTRUMENTS.pickupDuration),
      stateDuration: this.#export.histogram(POOL_INSTRUMENTS.stateDuration),
      runsEnded: this.#export.counter(POOL_INSTRUMENTS.runsEnded),
    }
  }

  /** Within the transaction of the command that made it happen. */
  count(measured: readonly Measured[], now: number): void {
    const { counts } = this.#parts.store
    const add = (counter: PoolCounter, value: number) => {
      if (value > 0) counts.add(POOL_COUNTERS[counter].name, value, now)
    }
    for (const one of measured) {
      if (one.type === 'lease_expired') add('leasesExpired', 1)
      if (one.type !== 'relay') continue
      add('relayConnections', one.counts.connections)
      add('relayTimeouts', one.counts.timeouts)
      add('relayFramesDropped', one.counts.frames_dropped)
    }
  }

  /** Once that is stored. */
  record(measured: readonly Measured[]): void {
    const about = this.#attributes
    for (const one of measured) {
      switch (one.type) {
        case 'picked_up':
          this.#of.pickupDuration.record(one.afterMs / 1000, about)
          break
        case 'state_left':
          this.#of.stateDuration.record(one.afterMs / 1000, { ...about, state: one.state })
          break
        case 'run_ended': {
          const failed = one.code === null ? {} : { 'error.type': one.code }
          this.#of.runsEnded.add(1, { ...about, status: one.status, ...failed })
          break
        }
        case 'lease_expired':
        case 'relay':
          break
      }
    }
  }

  /** The next export says how the pool is. */
  look(at: number, values: PoolGauges): void {
    this.#gauges = { at, values }
  }

  /** Never throws. Resolves when everything is delivered, could not be, or takes longer than a second. */
  async inTime(now: number): Promise<void> {
    this.#running ??= this.#deliver(now).finally(() => {
      this.#running = null
    })
    let timer: ReturnType<typeof setTimeout> | undefined
    const late = new Promise<void>(resolve => {
      timer = setTimeout(resolve, WAIT_MS)
    })
    await Promise.race([this.#running, late])
    clearTimeout(timer)
  }

  /** When counts that were not taken should be sent again; null when there are none. */
  retryAt(now: number): number | null {
    const since = this.#parts.store.counts.oldestSince()
    return since === null ? null : now + Math.min(RETRY_CAP_MS, Math.max(RETRY_FIRST_MS, now - since))
  }

  async #deliver(now: number): Promise<void> {
    try {
      for (let round = 0; round < ROUNDS && this.#isPending; round++) if (!(await this.#send(now))) return
    } catch (error) {
      // The storage is broken, or was erased meanwhile: what is still there is sent by a later alarm.
      logLine('warn', 'metrics_not_sent', { pool_id: String(this.#attributes.pool), reason: reasonOf(error) })
    }
  }

  get hasCounts(): boolean {
    return !this.#parts.store.counts.isEmpty()
  }

  get #isPending(): boolean {
    return this.#gauges !== null || this.#export.isPending || this.hasCounts
  }

  /** @returns whether it was taken */
  async #send(now: number): Promise<boolean> {
    const { storage, store } = this.#parts
    const at = Math.max(now, this.#lastAt + 1)
    this.#lastAt = at
    const gauges = this.#gauges
    this.#gauges = null
    const batches = storage.transactionSync(() => store.counts.close(at))
    const delivery = await this.#export.send([
      ...(gauges === null ? [] : this.#gaugeData(gauges.at, gauges.values)),
      ...this.#countData(batches, gauges === null ? null : at),
    ])
    if (delivery.outcome !== 'taken') return false
    storage.transactionSync(() => {
      for (const batch of batches) store.counts.confirm(batch)
    })
    return true
  }

  #gaugeData(at: number, values: PoolGauges): MetricData[] {
    const all: Record<PoolGauge, number> = { ...values, createdAt: this.#createdAt }
    return Object.entries(POOL_GAUGES).map(([key, gauge]) => ({
      descriptor: descriptorOf(gauge),
      aggregationTemporality: AggregationTemporality.CUMULATIVE,
      dataPointType: DataPointType.GAUGE,
      dataPoints: [this.#point(at, at, all[key as PoolGauge])],
    }))
  }

  /** @param zeroAt with the gauges: a rate needs a value from before, so a count of nothing is told as 0 */
  #countData(batches: readonly CountBatch[], zeroAt: number | null): MetricData[] {
    return Object.values(POOL_COUNTERS).flatMap(counter => {
      const zero = zeroAt === null ? undefined : { since: zeroAt - 1, until: zeroAt, value: 0 }
      const batch = batches.find(({ name }) => name === counter.name) ?? zero
      if (batch === undefined) return []
      return {
        descriptor: descriptorOf(counter),
        aggregationTemporality: AggregationTemporality.DELTA,
        dataPointType: DataPointType.SUM as const,
        isMonotonic: true,
        dataPoints: [this.#point(batch.since, batch.until, batch.value)],
      }
    })
  }

  #point(since: number, until: number, value: number) {
    return { startTime: hrTime(since), endTime: hrTime(until), attributes: this.#attributes, value }
  }
}

function descriptorOf({ name, unit, description }: Instrument): MetricData['descriptor'] {
  return { name, unit, description, valueType: ValueType.DOUBLE }
}

function hrTime(ms: number): HrTime {
  return [Math.floor(ms / 1000), (ms % 1000) * 1_000_000]
}

/** Ids are made of the time they were made at (UUIDv7). @returns epoch seconds */
function createdAt(poolId: string): number {
  const hex = TypeID.fromString(poolId).toUUID().replaceAll('-', '').slice(0, 12)
  return Math.floor(Number.parseInt(hex, 16) / 1000)
}
