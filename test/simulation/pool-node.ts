import type { Doorbells, PoolContext, Rules } from '../../durable-objects/runner-pool/core/context.ts'
import { sweep } from '../../durable-objects/runner-pool/core/expiry.ts'
import type { Capacity, PoolRecord, RunnerMemo } from '../../durable-objects/runner-pool/core/model.ts'
import { projectionsOf } from '../../durable-objects/runner-pool/outbox-drain.ts'
import { PoolStore } from '../../durable-objects/runner-pool/store/store.ts'
import { MemorySql } from '../support/memory-sql.ts'
import type { Clockwork } from './clockwork.ts'
import type { Random } from './random.ts'

export const POOL_ID = 'pol_00000000000000000000000000'

/** How a command of the object may be cut short. */
export type Crash = 'none' | 'before_commit' | 'after_commit'

export class Crashed extends Error {}

/**
 * The pool object without its runtime: real stores on a real SQLite, the real core, and an alarm that may be
 * late or never come. Its memory is dropped at any moment; its clock may be off by a little and step back.
 */
export class PoolNode {
  readonly sql = new MemorySql()
  readonly store = new PoolStore(this.sql)
  readonly rules: Rules
  /** Runs by id as D1 would hold them: version and document. */
  readonly history = new Map<string, { version: number; document: string; events: Set<number> }>()
  onStep: (now: number) => void = () => {}
  readonly #world: Clockwork
  readonly #random: Random
  #pool: PoolRecord
  #memos = new Map<string, RunnerMemo>()
  #capacities = new Map<string, Capacity>()
  #alarmAt: number | null = null
  /** False while the alarm runs, and from the loss of one to the next that has come. */
  #alarmIsReliable = true
  #wokeAt = 0
  #latest = 0
  #skewMs = 0
  #ids = 0
  #leasesDueAt = 0

  constructor(world: Clockwork, random: Random, rules: Rules) {
    this.#world = world
    this.#random = random
    this.rules = rules
    this.store.initialise({ tenant_id: 'ten_1', tenant_slug: 'acme', pool_id: POOL_ID })
    this.#pool = this.#open()
    this.#wokeAt = this.#clock()
  }

  /** @throws Crashed when the object dies before it can answer */
  command<T>(
    decide: (ctx: PoolContext) => T,
    crash: Crash = 'none',
    committed: (ctx: PoolContext, value: T) => void = () => {},
  ): T {
    const ctx = this.#context()
    let value: T
    try {
      value = this.sql.transaction(() => {
        const decided = decide(ctx)
        if (crash === 'before_commit') throw new Crashed()
        return decided
      })
    } catch (error) {
      if (error instanceof Crashed) this.evict()
      throw error
    }
    // The alarm is stored with the command's writes, so it survives a crash after them.
    this.#arm(ctx.effects.wakeAt)
    this.#leasesDueAt = Math.min(this.#leasesDueAt, ctx.effects.leaseDueAt ?? this.#leasesDueAt)
    committed(ctx, value)
    this.onStep(ctx.now)
    if (crash === 'after_commit') {
      this.evict()
      throw new Crashed()
    }
    return value
  }

  /** Hibernation, a deploy, a crash: memory is gone, and the constructor runs at the next call. */
  evict(): void {
    this.#memos = new Map()
    this.#capacities = new Map()
    this.#leasesDueAt = 0
    this.#skewMs = this.#random.between(-2_000, 1_000)
    this.#pool = this.#open()
    this.#latest = this.store.leases.latestRenewal()
    this.#wokeAt = this.#clock()
    if (this.#alarmAt === null && this.store.hasDues()) this.#arm(this.#wokeAt)
  }

  /** When the alarm comes if nothing goes wrong, or null while it runs or was lost. */
  get alarmAt(): number | null {
    return this.#alarmIsReliable ? this.#alarmAt : null
  }

  setPoolState(state: 'active' | 'draining'): void {
    this.command(ctx => {
      ctx.pool.state = state
      ctx.store.savePool(ctx.pool)
    })
  }

  /** What a healthy D1 would have received by now. */
  drain(): void {
    for (;;) {
      const entries = this.store.outbox.batch(50)
      if (entries.length === 0) return
      for (const { run, version, events } of projectionsOf(
        { poolId: POOL_ID, tenantId: 'ten_1', store: this.store },
        entries,
      )) {
        const row = this.history.get(run.id) ?? { version: 0, document: '', events: new Set<number>() }
        if (version > row.version) Object.assign(row, { version, document: JSON.stringify(run) })
        for (const { seq } of events) row.events.add(seq)
        this.history.set(run.id, row)
      }
      // A confirmation may be lost; the batch is then sent again.
      if (this.#random.chance(0.2)) return
      for (const entry of entries) this.store.outbox.confirm(entry)
    }
  }

  #arm(at: number | null): void {
    if (at === null || (this.#alarmAt !== null && this.#alarmAt <= at)) return
    this.#alarmAt = at
    const late = this.#random.chance(0.1) ? this.#random.between(0, 30_000) : this.#random.between(0, 200)
    this.#world.after(at - this.#clock() + late, () => this.#fire(at))
  }

  #fire(at: number): void {
    if (this.#alarmAt !== at) return
    this.#alarmAt = null
    this.#alarmIsReliable = false
    if (this.#random.chance(0.02)) {
      // The alarm is lost with the process that was to run it; whatever wakes the object next repairs it.
      this.#world.after(this.#random.between(1_000, 30_000), () => this.evict())
      return
    }
    const { next, leasesDueAt } = this.command(ctx => sweep(ctx, this.#leasesDueAt))
    this.#leasesDueAt = leasesDueAt
    if (this.#random.chance(0.8)) this.drain()
    this.#arm(next)
    this.#alarmIsReliable = true
    if (!this.store.outbox.isEmpty()) this.#arm(this.#clock() + 1_000)
  }

  #open(): PoolRecord {
    const pool = this.store.open()
    if (pool === null) throw new Error('the pool is gone')
    return pool
  }

  #clock(): number {
    this.#latest = Math.max(this.#world.now + this.#skewMs, this.#latest)
    return this.#latest
  }

  #context(): PoolContext {
    const silent: Doorbells = { lastPongAt: () => null }
    return {
      pool: this.#pool,
      store: this.store,
      rules: this.rules,
      now: this.#clock(),
      wokeAt: this.#wokeAt,
      memos: this.#memos,
      capacities: this.#capacities,
      doorbells: silent,
      offersAllowed: true,
      relayAllowed: true,
      mintId: kind => `${kind === 'session' ? 'ses' : 'cmd'}_${String(++this.#ids).padStart(26, '0')}`,
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
}
