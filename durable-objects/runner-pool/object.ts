import { DurableObject } from 'cloudflare:workers'
import { typeidUnboxed } from 'typeid-js'
import type { Page, PoolState, Runner } from '../../protocol/admin-api.ts'
import { accepted, type Refusal, type Result, refused } from '../../protocol/errors.ts'
import { ID_PREFIXES } from '../../protocol/ids.ts'
import type { Placement, Run } from '../../protocol/run.ts'
import { DOORBELL, type SyncRequest, type SyncResponse } from '../../protocol/runner-api.ts'
import { logLine, reasonOf } from '../log.ts'
import { parseSettings, runnersEnabled, type Settings } from '../settings.ts'
import { AlarmClock } from './alarm.ts'
import { authenticate } from './core/authentication.ts'
import type { Effects, PoolContext, Rules } from './core/context.ts'
import { planRings } from './core/doorbell.ts'
import { sweep } from './core/expiry.ts'
import type { PoolRecord, RunnerMemo } from './core/model.ts'
import { explain } from './core/placement.ts'
import * as runners from './core/runners.ts'
import { cancel, enqueue, readRun, toRun } from './core/runs.ts'
import { sync } from './core/sync.ts'
import { Doorbells } from './doorbells.ts'
import { DurableSql } from './durable-sql.ts'
import { drainOutbox, drainRetryMs } from './outbox-drain.ts'
import { projectRuns } from './projection.ts'
import {
  DOORBELL_HEADERS,
  type NewRun,
  type PoolIdentity,
  type PoolSummary,
  type Registration,
  type RegistrationIdentity,
  type RunnerPoolRpc,
} from './rpc.ts'
import { PoolStore } from './store/store.ts'

/**
 * One object per pool. It serialises the pool's queue, runners, leases and commands: every method loads,
 * decides in the pure core, stores in one transaction, re-arms the alarm and returns data.
 *
 * Memory holds only what may be lost at any moment: memos of runners, which rings are out, the armed time.
 */

/** Ended runs stay this long, so that a repeated `enqueue` of the same id finds its run. */
const RETAIN_ENDED_MS = 25 * 3_600_000
const PRUNE_BATCH = 200
/** The alarm handler never throws, because a throw is retried on a schedule of the platform's own. */
const ALARM_RETRY_MS = 5_000
/** An object has one alarm at a time: while D1 is slow, leases still have to end. The drain goes on behind it. */
const DRAIN_WAIT_MS = 1_000

export interface RunnerPoolEnv {
  readonly DB: D1Database
}

const NOT_FOUND = refused('not_found', 'no such pool')

export class RunnerPool extends DurableObject<RunnerPoolEnv> implements RunnerPoolRpc {
  readonly #store: PoolStore
  readonly #alarm: AlarmClock
  readonly #doorbells: Doorbells
  readonly #memos = new Map<string, RunnerMemo>()
  readonly #settings: Settings
  #pool: PoolRecord | null = null
  #wokeAt = 0
  #latest = 0
  /** No lease is due before this; 0 while nobody has looked. */
  #leasesDueAt = 0
  #drainFailures = 0
  #draining: Promise<boolean> | null = null

  constructor(ctx: DurableObjectState, env: RunnerPoolEnv) {
    super(ctx, env)
    const parsed = parseSettings({ ...env })
    if (!parsed.ok) throw new Error(`settings are not valid: ${parsed.problems.join('; ')}`)
    this.#settings = parsed.settings
    this.#store = new PoolStore(new DurableSql(ctx.storage.sql))
    this.#alarm = new AlarmClock(ctx.storage)
    this.#doorbells = new Doorbells(ctx)
    ctx.blockConcurrencyWhile(async () => {
      this.#pool = ctx.storage.transactionSync(() => this.#store.open())
      if (this.#pool === null) return
      this.#latest = this.#store.leases.latestRenewal()
      this.#wokeAt = this.#now()
      // An alarm that was lost, or never armed before a crash, is made good here.
      if ((await this.#alarm.load()) === null && this.#store.hasDues()) this.#alarm.wakeBy(this.#wokeAt)
    })
  }

  async initialise(identity: PoolIdentity): Promise<void> {
    if (this.#pool !== null) return
    this.#pool = this.ctx.storage.transactionSync(() => {
      this.#store.initialise(identity)
      return this.#store.open()
    })
    this.#wokeAt = this.#now()
  }

  async previewDestroy(): Promise<Result<null>> {
    return this.#mayBeDestroyed()
  }

  async destroy(): Promise<Result<null>> {
    const before = this.#mayBeDestroyed()
    if (!before.ok) return before
    const saved = await this.#drainInTime()
    // Others were served while D1 was written to; from this look on to the end nobody is.
    const verdict = this.#mayBeDestroyed()
    if (!verdict.ok) return verdict
    if (!saved || !this.#store.outbox.isEmpty()) {
      return refused('overloaded', 'the history of the pool is still being saved')
    }
    this.#pool = null
    this.#memos.clear()
    this.#alarm.disarmed()
    for (const runnerId of this.#doorbells.bells().keys()) this.#hangUp(runnerId)
    await this.ctx.storage.deleteAlarm()
    await this.ctx.storage.deleteAll()
    return verdict
  }

  async summary(): Promise<Result<PoolSummary>> {
    return this.#command(ctx => accepted(summarise(ctx)))
  }

  async setState(state: PoolState, note: string | null): Promise<Result<PoolSummary>> {
    return this.#command(ctx => {
      ctx.pool.state = state
      ctx.pool.note = note
      ctx.store.savePool(ctx.pool)
      if (state === 'active') ctx.effects.workWaits = true
      return accepted(summarise(ctx))
    })
  }

  async enqueue(input: NewRun): Promise<Result<{ run: Run; version: number; created: boolean }>> {
    return this.#command(ctx => {
      const { run, created } = enqueue(ctx, input)
      return accepted({ run: toRun(ctx.pool.poolId, run), version: run.version, created })
    })
  }

  async getRun(runId: string): Promise<Result<Run>> {
    return this.#command(ctx => {
      const run = readRun(ctx, runId)
      return run === null ? refused('not_found', 'no such run') : accepted(toRun(ctx.pool.poolId, run))
    })
  }

  async cancelRun(runId: string): Promise<Result<Run>> {
    return this.#command(ctx => {
      const result = cancel(ctx, runId)
      return result.ok ? accepted(toRun(ctx.pool.poolId, result.value)) : result
    })
  }

  async placement(runId: string): Promise<Result<Placement>> {
    return this.#command(ctx => {
      const run = readRun(ctx, runId)
      return run === null ? refused('not_found', 'no such run') : accepted(explain(ctx, run))
    })
  }

  async previewRegistration(who: RegistrationIdentity): Promise<Result<'new' | 'repeat'>> {
    return this.#command(ctx => runners.previewRegistration(ctx, who))
  }

  async register(
    registration: Registration,
  ): Promise<Result<{ runner_id: string; sync_interval_ms: number }>> {
    const result = this.#command(ctx => runners.register(ctx, registration))
    if (result.ok) this.#hangUp(result.value.runner_id)
    return result
  }

  async authenticateRunner(runnerId: string, credentialHash: string): Promise<Result<null>> {
    return this.#command(ctx => {
      const known = authenticate(ctx, runnerId, credentialHash)
      if (!known.ok) return known
      if (known.value.promoted) ctx.store.runners.update(known.value.runner)
      return accepted(null)
    })
  }

  async sync(runnerId: string, credentialHash: string, request: SyncRequest): Promise<Result<SyncResponse>> {
    const result = this.#command(ctx => sync(ctx, runnerId, credentialHash, request))
    if (result.ok && !result.value.stale) this.#doorbells.answered(runnerId)
    return result
  }

  async rotateCredential(runnerId: string, credentialHash: string, nextHash: string): Promise<Result<null>> {
    return this.#command(ctx => runners.rotateCredential(ctx, runnerId, credentialHash, nextHash))
  }

  async deregister(runnerId: string, credentialHash: string): Promise<Result<null>> {
    const result = this.#command(ctx => {
      const known = authenticate(ctx, runnerId, credentialHash)
      if (known.ok) runners.remove(ctx, known.value.runner, false)
      return known.ok ? accepted(null) : known
    })
    if (result.ok) this.#hangUp(runnerId)
    return result
  }

  async listRunners(limit: number, cursor: string | null): Promise<Result<Page<Runner>>> {
    return this.#command(ctx => accepted(runners.listRunners(ctx, limit, cursor)))
  }

  async getRunner(runnerId: string): Promise<Result<Runner>> {
    return this.#command(ctx => {
      const runner = runners.findRunner(ctx, runnerId)
      return runner === null
        ? refused('not_found', 'no such runner')
        : accepted(runners.toRunner(ctx, runner))
    })
  }

  async setRunnerState(runnerId: string, state: PoolState, note: string | null): Promise<Result<Runner>> {
    return this.#command(ctx => {
      const result = runners.setRunnerState(ctx, runnerId, state, note)
      return result.ok ? accepted(runners.toRunner(ctx, result.value)) : result
    })
  }

  async removeRunner(runnerId: string, force: boolean): Promise<Result<null>> {
    const result = this.#command(ctx => {
      const runner = runners.findRunner(ctx, runnerId)
      if (runner === null) return refused('not_found', 'no such runner')
      runners.remove(ctx, runner, force)
      return accepted(null)
    })
    if (result.ok) this.#hangUp(runnerId)
    return result
  }

  async runnersOnlineByToken(): Promise<Result<Record<string, number>>> {
    return this.#command(ctx => accepted(runners.onlineByToken(ctx)))
  }

  /** The doorbell's upgrade. The status tells the Worker what to answer when it is refused. */
  override async fetch(request: Request): Promise<Response> {
    const runnerId = request.headers.get(DOORBELL_HEADERS.runnerId) ?? ''
    const hash = request.headers.get(DOORBELL_HEADERS.credentialHash) ?? ''
    const known = await this.authenticateRunner(runnerId, hash)
    if (!known.ok) return refusalResponse(known.error)
    const { 0: client, 1: server } = new WebSocketPair()
    this.#doorbells.accept(runnerId, server, this.#now())
    return new Response(null, { status: 101, webSocket: client })
  }

  override async webSocketMessage(): Promise<void> {
    // A doorbell has nothing to say; its pings are answered without waking the object.
  }

  override async webSocketClose(socket: WebSocket, code: number): Promise<void> {
    // 1005, 1006 and 1015 only describe a close; they may not be sent.
    const sendable = code !== 1005 && code !== 1006 && code !== 1015
    if (socket.readyState !== WebSocket.CLOSED) socket.close(sendable ? code : 1000)
    this.#doorbellClosed(socket)
  }

  override async webSocketError(socket: WebSocket): Promise<void> {
    this.#doorbellClosed(socket)
  }

  override async alarm(): Promise<void> {
    this.#alarm.disarmed()
    const pool = this.#pool
    if (pool === null) return
    try {
      const next = this.#command(ctx => {
        const due = sweep(ctx, this.#leasesDueAt)
        // Rings that nobody answered are passed on.
        if (ctx.store.queue.lanes().length > 0) ctx.effects.workWaits = true
        return accepted(due)
      })
      if (next.ok) {
        this.#leasesDueAt = next.value.leasesDueAt
        this.#alarm.wakeBy(next.value.next)
      }
      const saved = await this.#drainInTime()
      // Destroyed while D1 was written to: nothing may be left behind.
      if (this.#pool === null) return
      if (!saved) this.#alarm.wakeBy(this.#now() + drainRetryMs(this.#drainFailures, Math.random()))
      this.#prune()
    } catch (error) {
      logLine('error', 'pool_alarm_failed', { pool_id: pool.poolId, reason: reasonOf(error) })
      if (this.#pool !== null) this.#alarm.wakeBy(this.#now() + ALARM_RETRY_MS)
    }
  }

  #mayBeDestroyed(): Result<null> {
    return this.#command(ctx => {
      const stats = runners.stats(ctx)
      const busy = stats.runners_online > 0 || stats.queued > 0 || stats.slots_busy > 0
      return busy
        ? refused('pool_not_empty', 'the pool has online runners, or runs that have not ended')
        : accepted(null)
    })
  }

  #doorbellClosed(socket: WebSocket): void {
    const [runnerId] = this.ctx.getTags(socket)
    if (runnerId === undefined) return
    const pongAt = this.#doorbells.signOfLife(socket)
    this.#command(ctx => accepted(runners.doorbellLost(ctx, runnerId, pongAt)))
  }

  #command<T>(decide: (ctx: PoolContext) => Result<T>): Result<T> {
    const pool = this.#pool
    if (pool === null) return NOT_FOUND
    const ctx = this.#context(pool)
    const state = { ...pool }
    try {
      const result = this.ctx.storage.transactionSync(() => decide(ctx))
      this.#apply(ctx)
      return result
    } catch (error) {
      // Nothing of the command was stored, so nothing of it may stay in memory; the rest of it can be spared.
      Object.assign(pool, state)
      this.#memos.clear()
      this.#wokeAt = this.#now()
      throw error
    }
  }

  #context(pool: PoolRecord): PoolContext {
    return {
      pool,
      store: this.#store,
      rules: rulesOf(this.#settings),
      now: this.#now(),
      wokeAt: this.#wokeAt,
      memos: this.#memos,
      doorbells: this.#doorbells,
      offersAllowed: runnersEnabled(this.#settings, pool.tenantSlug),
      mintId: kind => typeidUnboxed(ID_PREFIXES[kind]),
      effects: { wakeAt: null, leaseDueAt: null, ring: new Set(), workWaits: false } satisfies Effects,
    }
  }

  #apply(ctx: PoolContext): void {
    this.#alarm.wakeBy(ctx.effects.wakeAt)
    this.#leasesDueAt = Math.min(this.#leasesDueAt, ctx.effects.leaseDueAt ?? this.#leasesDueAt)
    for (const runnerId of ctx.effects.ring) this.#doorbells.ring(runnerId, ctx.now)
    if (ctx.effects.workWaits) this.#ringForWork(ctx)
  }

  #ringForWork(ctx: PoolContext): void {
    const bells = this.#doorbells.bells()
    if (bells.size === 0) return
    const plan = planRings(ctx, bells)
    for (const runnerId of plan.giveUp) this.#doorbells.close(runnerId, 1011, 'rings are not answered')
    for (const runnerId of plan.ring) this.#doorbells.ring(runnerId, ctx.now)
    this.#alarm.wakeBy(plan.checkAt)
  }

  /** @returns whether D1 has everything; false also when it has not said so yet */
  async #drainInTime(): Promise<boolean> {
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

  /** One at a time, however long D1 takes. @returns whether it has everything */
  #drain(): Promise<boolean> {
    this.#draining ??= this.#drainOnce().finally(() => {
      this.#draining = null
    })
    return this.#draining
  }

  async #drainOnce(): Promise<boolean> {
    const pool = this.#pool
    if (pool === null) return true
    try {
      const done = await drainOutbox({
        poolId: pool.poolId,
        tenantId: pool.tenantId,
        store: this.#store,
        failures: this.#drainFailures,
        project: projections => projectRuns(this.env.DB, projections),
        transaction: work => this.ctx.storage.transactionSync(work),
      })
      this.#drainFailures = 0
      return done
    } catch (error) {
      this.#drainFailures += 1
      // Nothing is lost: what D1 has not confirmed stays in the outbox.
      logLine('warn', 'history_not_saved', {
        pool_id: pool.poolId,
        failures: this.#drainFailures,
        reason: reasonOf(error),
      })
      return false
    }
  }

  #prune(): void {
    this.ctx.storage.transactionSync(() => this.#store.runs.prune(this.#now() - RETAIN_ENDED_MS, PRUNE_BATCH))
    const oldest = this.#store.runs.oldestFinished()
    if (oldest !== null) this.#alarm.wakeBy(Math.max(oldest + RETAIN_ENDED_MS, this.#now() + ALARM_RETRY_MS))
  }

  #hangUp(runnerId: string): void {
    this.#doorbells.close(runnerId, DOORBELL.closeUnauthenticated, 'the credential is no longer valid')
  }

  /** Never goes back while awake, nor before what the stored leases rest on. */
  #now(): number {
    this.#latest = Math.max(Date.now(), this.#latest)
    return this.#latest
  }
}

function summarise(ctx: PoolContext): PoolSummary {
  return { state: ctx.pool.state, note: ctx.pool.note, stats: runners.stats(ctx) }
}

function rulesOf(settings: Settings): Rules {
  return {
    leaseTtlMs: settings.SelfHosted__LeaseTtlSeconds * 1000,
    leaseGraceMs: settings.SelfHosted__LeaseGraceSeconds * 1000,
    offerTtlMs: settings.SelfHosted__OfferTtlSeconds * 1000,
    handoverMs: settings.SelfHosted__HandoverSeconds * 1000,
    syncIdleMs: settings.SelfHosted__SyncIdleSeconds * 1000,
  }
}

function refusalResponse(refusal: Refusal): Response {
  return Response.json(refusal, { status: refusal.code === 'not_found' ? 404 : 401 })
}
