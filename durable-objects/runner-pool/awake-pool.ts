import { typeidUnboxed } from 'typeid-js'
import type { Result } from '../../protocol/errors.ts'
import { ID_PREFIXES } from '../../protocol/ids.ts'
import { logLine, reasonOf } from '../log.ts'
import { otlpTarget, relayEnabled, runnersEnabled, type Settings } from '../settings.ts'
import type { AlarmClock } from '../storage/alarm-clock.ts'
import type { PoolContext, Rules } from './core/context.ts'
import { sweep } from './core/expiry.ts'
import { gaugesOf } from './core/gauges.ts'
import type { Capacity, PoolRecord, RunnerMemo } from './core/model.ts'
import { type SampleRecord, sampleIfDue } from './core/samples.ts'
import type { Doorbells } from './doorbells.ts'
import { HistoryDrain } from './history-drain.ts'
import { PoolMetrics } from './pool-metrics.ts'
import { Rings } from './rings.ts'
import type { PoolStore } from './store/store.ts'

/** Ended runs stay this long, so that a repeated `enqueue` of the same id finds its run. */
const RETAIN_ENDED_MS = 25 * 3_600_000
const PRUNE_BATCH = 200
/** After a failure of the object's own; the alarm comes again this soon. */
const ALARM_RETRY_MS = 5_000
/** Full batches follow one another at this pace. */
const PRUNE_PACE_MS = 5_000

/** What the object's runtime gives its pool. */
export interface PoolParts {
  readonly storage: Pick<DurableObjectStorage, 'transactionSync'>
  readonly store: PoolStore
  readonly alarm: AlarmClock
  readonly doorbells: Doorbells
  readonly settings: Settings
  /** Asked for at every drain. */
  database(): D1Database
  /** Tells the session's relay that it is over; its failure is nobody's business but its own. */
  endRelay(sessionId: string): void
  inBackground(work: Promise<unknown>): void
}

/**
 * An initialised pool for as long as its object is awake, and the one way to decide anything about it: a command
 * is one transaction of the core, and what it asks of the world happens once that is stored.
 *
 * Memory holds only what may be lost at any moment: what runners last said, which rings are out, the armed time.
 */
export class AwakePool {
  readonly record: PoolRecord
  readonly history: HistoryDrain
  readonly #parts: PoolParts
  readonly #rings: Rings
  /** Null where nobody asked for metrics. */
  readonly #metrics: PoolMetrics | null
  readonly #memos = new Map<string, RunnerMemo>()
  readonly #capacities = new Map<string, Capacity>()
  #latest: number
  #wokeAt: number
  /** No lease is due before this; 0 while nobody has looked. */
  #leasesDueAt = 0
  /** Undefined while nobody has looked. */
  #newestSample: SampleRecord | null | undefined
  #sampleAt: number | null = null

  constructor(record: PoolRecord, parts: PoolParts) {
    this.record = record
    this.history = new HistoryDrain(record, parts)
    this.#parts = parts
    this.#rings = new Rings(parts)
    const target = otlpTarget(parts.settings)
    this.#metrics = target === null ? null : new PoolMetrics(record, target, parts)
    this.#latest = parts.store.leases.latestRenewal()
    this.#wokeAt = this.now()
  }

  /** Never goes back while awake, nor before what the stored leases rest on. */
  now(): number {
    this.#latest = Math.max(Date.now(), this.#latest)
    return this.#latest
  }

  /** @throws what `decide` or the storage throws; nothing of the command is then stored or remembered */
  command<T>(decide: (ctx: PoolContext) => Result<T>): Result<T> {
    const ctx = this.#context()
    const result = this.#store(ctx, decide)
    this.#apply(ctx)
    return result
  }

  #store<T>(ctx: PoolContext, decide: (ctx: PoolContext) => Result<T>): Result<T> {
    const state = { ...this.record }
    try {
      return this.#parts.storage.transactionSync(() => {
        const result = decide(ctx)
        this.#metrics?.count(ctx.effects.measured, ctx.now)
        return result
      })
    } catch (error) {
      // Nothing of the command was stored, so nothing of it may stay in memory; the rest of it can be spared.
      Object.assign(this.record, state)
      this.#memos.clear()
      this.#capacities.clear()
      this.#wokeAt = this.now()
      throw error
    }
  }

  /**
   * Never throws, because a throw is retried on a schedule of the platform's own.
   * @param isHere false once the pool was destroyed: nothing may then be left behind
   */
  async onAlarm(isHere: () => boolean): Promise<void> {
    this.#despite(() => this.#sample())
    this.#despite(() => this.#sweep())
    const [saved] = await Promise.all([this.history.inTime(), this.#metrics?.inTime(this.now())])
    if (!isHere()) return
    this.#parts.alarm.wakeBy(saved ? this.#sampleAt : this.now() + this.history.retryMs())
    this.#despite(() => this.#sendCountsAgain())
    this.#despite(() => this.#prune())
  }

  /** Says what the pool is like, without waiting for anything to happen in it. */
  introduce(): void {
    const { inBackground } = this.#parts
    if (this.#metrics === null) return
    this.#look()
    inBackground(this.#metrics.inTime(this.now()))
  }

  #look(): void {
    const metrics = this.#metrics
    if (metrics === null) return
    this.command(ctx => {
      metrics.look(ctx.now, gaugesOf(ctx))
      return { ok: true, value: null }
    })
  }

  /** Facts that were counted and that the metrics back end has not confirmed. */
  get hasUnsentCounts(): boolean {
    return this.#metrics?.hasCounts === true
  }

  #sendCountsAgain(): void {
    if (this.#metrics !== null) this.#parts.alarm.wakeBy(this.#metrics.retryAt(this.now()))
  }

  /** One part of the alarm's work: what stops it must not stop the others. */
  #despite(work: () => void): void {
    try {
      work()
    } catch (error) {
      logLine('error', 'pool_alarm_failed', { pool_id: this.record.poolId, reason: reasonOf(error) })
      this.#parts.alarm.wakeBy(this.now() + ALARM_RETRY_MS)
    }
  }

  /** Takes a sample if it is time; the alarm is armed for the next one with what else is due. */
  #sample(): void {
    this.#sampleAt = null
    const sampled = this.command(ctx => {
      const newest = this.#newestSample === undefined ? ctx.store.samples.newest() : this.#newestSample
      const sampled = sampleIfDue(ctx, newest)
      return { ok: true, value: { ...sampled, isNew: sampled.newest !== newest } }
    })
    if (!sampled.ok) return
    if (sampled.value.isNew) this.#look()
    this.#newestSample = sampled.value.newest
    this.#sampleAt = sampled.value.next
  }

  /** Ends and orders everything that is due, and arms the alarm once for what is next. */
  #sweep(): void {
    const due = this.command(ctx => {
      const swept = sweep(ctx, this.#leasesDueAt)
      // Rings that nobody answered are passed on.
      if (!ctx.store.queue.isEmpty()) ctx.effects.workWaits = true
      return { ok: true, value: swept }
    })
    if (!due.ok) return
    this.#leasesDueAt = due.value.leasesDueAt
    // Every alarm asks D1, so while that fails a sample waits for the next try instead of adding one.
    const times = [due.value.next, this.history.isFailing ? null : this.#sampleAt].filter(at => at !== null)
    this.#parts.alarm.wakeBy(times.length === 0 ? null : Math.min(...times))
  }

  /** Forgets a batch of the runs that ended long enough ago, and arms the alarm for the next. */
  #prune(): void {
    const { storage, store, alarm } = this.#parts
    const before = this.now() - RETAIN_ENDED_MS
    storage.transactionSync(() => {
      store.runs.prune(before, PRUNE_BATCH)
      store.endedSessions.prune(before, PRUNE_BATCH)
    })
    const oldest = store.runs.oldestFinished()
    if (oldest !== null) alarm.wakeBy(Math.max(oldest + RETAIN_ENDED_MS, this.now() + PRUNE_PACE_MS))
  }

  #context(): PoolContext {
    const { store, doorbells, settings } = this.#parts
    return {
      pool: this.record,
      store,
      rules: rulesOf(settings),
      now: this.now(),
      wokeAt: this.#wokeAt,
      memos: this.#memos,
      capacities: this.#capacities,
      doorbells,
      offersAllowed: runnersEnabled(settings, this.record.tenantSlug),
      relayAllowed: relayEnabled(settings, this.record.tenantSlug),
      mintId: kind => typeidUnboxed(ID_PREFIXES[kind]),
      effects: {
        wakeAt: null,
        leaseDueAt: null,
        ring: new Set(),
        streamsEnded: new Set(),
        streamsOrdered: [],
        hangUp: new Set(),
        seeking: [],
        workWaits: false,
        measured: [],
      },
    }
  }

  /** The command is stored by now. Whom the news of it does not reach finds it out by asking. */
  #apply(ctx: PoolContext): void {
    this.#parts.alarm.wakeBy(ctx.effects.wakeAt)
    this.#metrics?.record(ctx.effects.measured)
    this.#leasesDueAt = Math.min(this.#leasesDueAt, ctx.effects.leaseDueAt ?? this.#leasesDueAt)
    for (const order of ctx.effects.streamsOrdered) this.#logOrder(order)
    try {
      this.#spread(ctx)
    } catch (error) {
      logLine('error', 'pool_news_not_spread', { pool_id: this.record.poolId, reason: reasonOf(error) })
    }
  }

  #spread(ctx: PoolContext): void {
    for (const sessionId of ctx.effects.streamsEnded) this.#parts.endRelay(sessionId)
    for (const runnerId of ctx.effects.hangUp) this.#parts.doorbells.hangUp(runnerId)
    for (const runnerId of ctx.effects.ring) this.#parts.doorbells.ring(runnerId, ctx.now)
    this.#rings.ringForWork(ctx)
  }

  #logOrder({
    type,
    id,
    runId,
    sessionId,
    runnerId,
  }: PoolContext['effects']['streamsOrdered'][number]): void {
    const ids = { pool_id: this.record.poolId, run_id: runId, session_id: sessionId, runner_id: runnerId }
    logLine('info', `${type}_ordered`, { ...ids, command_id: id })
  }
}

function rulesOf(settings: Settings): Rules {
  return {
    leaseTtlMs: settings.SelfHosted__LeaseTtlSeconds * 1000,
    leaseGraceMs: settings.SelfHosted__LeaseGraceSeconds * 1000,
    offerTtlMs: settings.SelfHosted__OfferTtlSeconds * 1000,
    handoverMs: settings.SelfHosted__HandoverSeconds * 1000,
    syncIdleMs: settings.SelfHosted__SyncIdleSeconds * 1000,
    uploadWindowMs: settings.SelfHosted__UploadWindowSeconds * 1000,
  }
}
