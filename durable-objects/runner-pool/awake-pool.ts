import { typeidUnboxed } from 'typeid-js'
import type { Result } from '../../protocol/errors.ts'
import { ID_PREFIXES } from '../../protocol/ids.ts'
import { logLine, reasonOf } from '../log.ts'
import { relayEnabled, runnersEnabled, type Settings } from '../settings.ts'
import type { AlarmClock } from './alarm.ts'
import type { PoolContext, Rules } from './core/context.ts'
import { planRings } from './core/doorbell.ts'
import { sweep } from './core/expiry.ts'
import type { LaneRecord, PoolRecord, RunnerMemo } from './core/model.ts'
import type { Doorbells } from './doorbells.ts'
import { HistoryDrain } from './history-drain.ts'
import type { PoolStore } from './store/store.ts'

/** Ended runs stay this long, so that a repeated `enqueue` of the same id finds its run. */
const RETAIN_ENDED_MS = 25 * 3_600_000
const PRUNE_BATCH = 200
/** A pool has a handful of lanes; with thousands, every plan of rings looks at this many more of them. */
const LANES_PER_PLAN = 256
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
}

/**
 * An initialised pool for as long as its object is awake, and the one way to decide anything about it: a command
 * is one transaction of the core, and what it asks of the world happens once that is stored.
 *
 * Memory holds only what may be lost at any moment: memos of runners, which rings are out, the armed time.
 */
export class AwakePool {
  readonly record: PoolRecord
  readonly history: HistoryDrain
  readonly #parts: PoolParts
  readonly #memos = new Map<string, RunnerMemo>()
  #latest: number
  #wokeAt: number
  /** No lease is due before this; 0 while nobody has looked. */
  #leasesDueAt = 0
  /** Up to which lane the last plan of rings looked; 0 when it saw the end. */
  #lanesRungFor = 0

  constructor(record: PoolRecord, parts: PoolParts) {
    this.record = record
    this.history = new HistoryDrain(record, parts)
    this.#parts = parts
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
      return this.#parts.storage.transactionSync(() => decide(ctx))
    } catch (error) {
      // Nothing of the command was stored, so nothing of it may stay in memory; the rest of it can be spared.
      Object.assign(this.record, state)
      this.#memos.clear()
      this.#wokeAt = this.now()
      throw error
    }
  }

  /** Ends and orders everything that is due, and arms the alarm for what is next. */
  sweep(): void {
    const due = this.command(ctx => {
      const swept = sweep(ctx, this.#leasesDueAt)
      // Rings that nobody answered are passed on.
      if (!ctx.store.queue.isEmpty()) ctx.effects.workWaits = true
      return { ok: true, value: swept }
    })
    if (!due.ok) return
    this.#leasesDueAt = due.value.leasesDueAt
    this.#parts.alarm.wakeBy(due.value.next)
  }

  /** Forgets a batch of the runs that ended long enough ago, and arms the alarm for the next. */
  prune(): void {
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
        joined: new Set(),
        workWaits: false,
      },
    }
  }

  /** The command is stored by now. Whom the news of it does not reach finds it out by asking. */
  #apply(ctx: PoolContext): void {
    this.#parts.alarm.wakeBy(ctx.effects.wakeAt)
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
    if (ctx.effects.workWaits || ctx.effects.joined.size > 0) this.#ringForWork(ctx)
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

  #ringForWork(ctx: PoolContext): void {
    const { alarm, doorbells } = this.#parts
    const bells = doorbells.bells()
    if (bells.size === 0) return
    const plan = planRings(ctx, bells, this.#lanesToRingFor(ctx))
    alarm.wakeBy(plan.checkAt)
    for (const runnerId of plan.giveUp) doorbells.close(runnerId, 1011, 'rings are not answered')
    for (const runnerId of plan.ring) doorbells.ring(runnerId, ctx.now)
  }

  /** The lanes that runs have just joined, and of all others as many as one plan takes, in turn. */
  #lanesToRingFor(ctx: PoolContext): LaneRecord[] {
    const { queue } = ctx.store
    const next = queue.lanesAfter(this.#lanesRungFor, LANES_PER_PLAN)
    const lanes = next.length > 0 ? next : queue.lanesAfter(0, LANES_PER_PLAN)
    this.#lanesRungFor = lanes.length < LANES_PER_PLAN ? 0 : (lanes.at(-1)?.id ?? 0)
    const others = [...ctx.effects.joined].filter(id => lanes.every(lane => lane.id !== id))
    return [...others.flatMap(id => queue.lane(id) ?? []), ...lanes]
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
