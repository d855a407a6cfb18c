import type { Doorbells, PoolContext, Rules } from '../../durable-objects/runner-pool/core/context.ts'
import { sweep } from '../../durable-objects/runner-pool/core/expiry.ts'
import type { Capacity, RunnerMemo } from '../../durable-objects/runner-pool/core/model.ts'
import { register } from '../../durable-objects/runner-pool/core/runners.ts'
import { cancel, enqueue, readRun, toRun } from '../../durable-objects/runner-pool/core/runs.ts'
import { sync } from '../../durable-objects/runner-pool/core/sync.ts'
import type { NewRun, Registration } from '../../durable-objects/runner-pool/rpc.ts'
import { PoolStore } from '../../durable-objects/runner-pool/store/store.ts'
import type { Run } from '../../protocol/run.ts'
import type { LeaseReport, SyncRequest, SyncResponse } from '../../protocol/runner-api.ts'
import { MemorySql } from '../support/memory-sql.ts'

export const RULES: Rules = {
  leaseTtlMs: 45_000,
  leaseGraceMs: 15_000,
  offerTtlMs: 20_000,
  handoverMs: 300_000,
  syncIdleMs: 5_000,
  uploadWindowMs: 900_000,
}

/** A pool whose clock the test holds. */
export class TestPool {
  readonly sql = new MemorySql()
  readonly store = new PoolStore(this.sql)
  readonly pongs = new Map<string, number>()
  now = Date.parse('2026-01-01T00:00:00Z')
  wokeAt = this.now
  offersAllowed = true
  rules = RULES
  memos = new Map<string, RunnerMemo>()
  capacities = new Map<string, Capacity>()
  #pool
  #ids = 0

  constructor() {
    this.store.initialise({ tenant_id: 'ten_1', tenant_slug: 'acme', pool_id: 'pol_1' })
    this.#pool = this.#open()
  }

  context(): PoolContext {
    const doorbells: Doorbells = { lastPongAt: runnerId => this.pongs.get(runnerId) ?? null }
    return {
      pool: this.#pool,
      store: this.store,
      rules: this.rules,
      now: this.now,
      wokeAt: this.wokeAt,
      memos: this.memos,
      capacities: this.capacities,
      doorbells,
      offersAllowed: this.offersAllowed,
      relayAllowed: true,
      mintId: kind => `${kind}_${++this.#ids}`,
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

  decide<T>(decide: (ctx: PoolContext) => T): T {
    return this.sql.transaction(() => decide(this.context()))
  }

  /** Hibernation: everything but the store is forgotten. */
  evict(): void {
    this.memos = new Map()
    this.capacities = new Map()
    this.wokeAt = this.now
    this.#pool = this.#open()
  }

  pass(ms: number): void {
    this.now += ms
  }

  /** What the alarm would do. */
  sweep(): number | null {
    return this.decide(ctx => sweep(ctx, 0)).next
  }

  enqueue(id: string, input: Partial<NewRun> = {}): Run {
    const run: NewRun = {
      run_id: id,
      environment_id: 'env_1',
      image: 'agent',
      command: ['true'],
      env: {},
      timeout_seconds: 600,
      queue_timeout_seconds: 3600,
      priority: 0,
      labels: {},
      resources: {},
      stream: true,
      max_attempts: 2,
      metadata: {},
      ...input,
    }
    return toRun('pol_1', this.decide(ctx => enqueue(ctx, run)).run)
  }

  cancel(id: string): Run {
    const result = this.decide(ctx => cancel(ctx, id))
    if (!result.ok) throw new Error(result.error.code)
    return toRun('pol_1', result.value)
  }

  run(id: string): Run {
    const run = this.decide(ctx => readRun(ctx, id))
    if (run === null) throw new Error(`no run ${id}`)
    return toRun('pol_1', run)
  }

  events(id: string): string[] {
    return this.store.outbox.batch(10_000).flatMap(entry => (entry.runId === id ? [entry.type] : []))
  }

  #open() {
    const pool = this.store.open()
    if (pool === null) throw new Error('the pool is gone')
    return pool
  }
}

/** A runner that syncs when the test says so and says what the test says. */
export class TestRunner {
  readonly id: string
  readonly hash: string
  boot: number
  bootId: string
  seq = 0
  readonly slots: number
  readonly #pool: TestPool

  constructor(pool: TestPool, name: string, input: Partial<Registration> = {}) {
    this.#pool = pool
    this.boot = input.boot ?? 1
    this.bootId = input.boot_id ?? `${name}-boot`
    this.hash = input.credential_hash ?? `${name}-hash`
    this.slots = input.max_concurrency ?? 2
    const result = pool.decide(ctx =>
      register(ctx, {
        token_id: 'tok_1',
        name,
        boot_id: this.bootId,
        fresh_runner_id: `rnr_${name}`,
        credential_hash: this.hash,
        boot: this.boot,
        protocol: 1,
        max_concurrency: this.slots,
        labels: {},
        version: '0.1.0',
        platform: { os: 'linux', arch: 'x64', cpus: 2, memory_mb: 4096 },
        engine: { id: `engine-${name}`, version: '20' },
        ...input,
      }),
    )
    if (!result.ok) throw new Error(result.error.code)
    this.id = result.value.runner_id
  }

  /** The next process of this runner, as after a restart. */
  restart(): void {
    this.boot += 1
    this.bootId = `${this.bootId}+`
    this.seq = 0
  }

  request(leases: readonly LeaseReport[] = [], input: Partial<SyncRequest> = {}): SyncRequest {
    return {
      protocol: 1,
      boot: this.boot,
      boot_id: this.bootId,
      seq: ++this.seq,
      draining: false,
      inventory: 'complete',
      slots: { max: this.slots },
      leases: [...leases],
      acks: [],
      ...input,
    }
  }

  /** @throws the refusal's code */
  sync(leases: readonly LeaseReport[] = [], input: Partial<SyncRequest> = {}): SyncResponse {
    return this.send(this.request(leases, input))
  }

  send(request: SyncRequest): SyncResponse {
    const result = this.#pool.decide(ctx => sync(ctx, this.id, this.hash, request))
    if (!result.ok) throw new Error(result.error.code)
    return result.value
  }

  /** Takes the one offer that waits. @returns its session id */
  take(): string {
    const [offer] = this.sync().offers
    if (offer === undefined) throw new Error('there was no offer')
    this.sync([{ session_id: offer.session_id, state: 'accepted' }])
    return offer.session_id
  }
}

export function running(session_id: string): LeaseReport {
  return { session_id, state: 'running' }
}

export function exited(
  session_id: string,
  code: number | null,
  reason: NonNullable<LeaseReport['exit']>['reason'] = 'exited',
): LeaseReport {
  return { session_id, state: 'exited', exit: { code, reason } }
}

export function verdictOf(reply: SyncResponse, sessionId: string): string | undefined {
  return reply.leases.find(lease => lease.session_id === sessionId)?.verdict
}
