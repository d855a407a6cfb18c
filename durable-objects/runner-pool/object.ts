import { DurableObject } from 'cloudflare:workers'
import type { Page, PoolState, Runner } from '../../protocol/admin-api.ts'
import { accepted, type Refusal, type Result, refused } from '../../protocol/errors.ts'
import type { PoolSample } from '../../protocol/overview.ts'
import type { Placement, Run } from '../../protocol/run.ts'
import type { SyncRequest, SyncResponse } from '../../protocol/runner-api.ts'
import { echoClose } from '../echo-close.ts'
import { logLine, reasonOf } from '../log.ts'
import type { SessionIdentity } from '../session-identity.ts'
import type { SessionRelayRpc, StreamReport, WatchableSession } from '../session-relay/rpc.ts'
import { parseSettings } from '../settings.ts'
import { AlarmClock } from '../storage/alarm-clock.ts'
import { DurableSql } from '../storage/durable-sql.ts'
import { AwakePool, type PoolParts } from './awake-pool.ts'
import { authenticate } from './core/authentication.ts'
import type { PoolContext } from './core/context.ts'
import type { PoolRecord } from './core/model.ts'
import { overview } from './core/overview.ts'
import { explain } from './core/placement.ts'
import * as runners from './core/runners.ts'
import { cancel, enqueue, readRun, toRun } from './core/runs.ts'
import { readSamples, toPoolSample } from './core/samples.ts'
import { noteLogCut, type Purpose, sessionGrant } from './core/session-grants.ts'
import { streamChanged, streamOf, watchableSession } from './core/streams.ts'
import { sync } from './core/sync.ts'
import { Doorbells } from './doorbells.ts'
import {
  DOORBELL_HEADERS,
  type NewRun,
  type PoolIdentity,
  type PoolOverview,
  type PoolSummary,
  type Registration,
  type RegistrationIdentity,
  type RunnerPoolRpc,
  type TimeSpan,
} from './rpc.ts'
import { PoolStore } from './store/store.ts'

/**
 * One object per pool. It serialises the pool's queue, runners, leases and commands: every method loads,
 * decides in the pure core, stores in one transaction, re-arms the alarm and returns data.
 */

interface RunnerPoolEnv {
  readonly DB: D1Database
  readonly SESSION_RELAY: { getByName(sessionId: string): Pick<SessionRelayRpc, 'sessionEnded'> }
}

const NOT_FOUND = refused('not_found', 'no such pool')

export class RunnerPool extends DurableObject<RunnerPoolEnv> implements RunnerPoolRpc {
  readonly #parts: PoolParts
  /** Null while there is nothing here: never initialised, or destroyed. */
  #pool: AwakePool | null = null

  constructor(ctx: DurableObjectState, env: RunnerPoolEnv) {
    super(ctx, env)
    const parsed = parseSettings({ ...env })
    if (!parsed.ok) throw new Error(`settings are not valid: ${parsed.problems.join('; ')}`)
    this.#parts = {
      storage: ctx.storage,
      store: new PoolStore(new DurableSql(ctx.storage.sql)),
      alarm: new AlarmClock(ctx.storage),
      doorbells: new Doorbells(ctx),
      settings: parsed.settings,
      database: () => this.env.DB,
      endRelay: sessionId => this.#endRelay(sessionId),
      inBackground: work => ctx.waitUntil(work),
    }
    ctx.blockConcurrencyWhile(async () => {
      const { store, alarm } = this.#parts
      const pool = this.#open(() => store.open())
      if (pool === null) return
      // An alarm that was lost, or never armed before a crash, is made good here.
      const isDue = () => store.hasDues() || pool.hasUnsentCounts
      if ((await alarm.load()) === null && isDue()) alarm.wakeBy(pool.now())
    })
  }

  async initialise(identity: PoolIdentity): Promise<void> {
    if (this.#pool !== null) return
    const { store } = this.#parts
    const pool = this.#open(() => {
      store.initialise(identity)
      return store.open()
    })
    pool?.introduce()
  }

  async previewDestroy(): Promise<Result<null>> {
    return this.#mayBeDestroyed()
  }

  async destroy(): Promise<Result<null>> {
    const before = this.#mayBeDestroyed()
    if (!before.ok) return before
    const saved = await this.#pool?.history.inTime()
    // Others were served while D1 was written to; from this look on to the end nobody is.
    const verdict = this.#mayBeDestroyed()
    if (!verdict.ok) return verdict
    const { store, alarm, doorbells } = this.#parts
    if (!saved || !store.outbox.isEmpty()) {
      return refused('overloaded', 'the history of the pool is still being saved')
    }
    this.#pool = null
    alarm.disarmed()
    for (const runnerId of doorbells.bells().keys()) doorbells.hangUp(runnerId)
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
      if (run === null) return refused('not_found', 'no such run')
      return accepted(toRun(ctx.pool.poolId, run, streamOf(ctx, run)))
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

  async watchableSession(runId: string): Promise<Result<WatchableSession>> {
    return this.#command(ctx => {
      const run = readRun(ctx, runId)
      return run === null ? refused('not_found', 'no such run') : watchableSession(ctx, run)
    })
  }

  async streamChanged(
    runId: string,
    sessionId: string,
    report: StreamReport,
  ): Promise<Result<{ live: boolean }>> {
    return this.#command(ctx => streamChanged(ctx, runId, sessionId, report))
  }

  async previewRegistration(who: RegistrationIdentity): Promise<Result<'new' | 'repeat'>> {
    return this.#command(ctx => runners.previewRegistration(ctx, who))
  }

  async register(
    registration: Registration,
  ): Promise<Result<{ runner_id: string; sync_interval_ms: number }>> {
    return this.#command(ctx => runners.register(ctx, registration))
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
    if (result.ok && !result.value.stale) this.#parts.doorbells.answered(runnerId)
    return result
  }

  async rotateCredential(runnerId: string, credentialHash: string, nextHash: string): Promise<Result<null>> {
    return this.#command(ctx => runners.rotateCredential(ctx, runnerId, credentialHash, nextHash))
  }

  async sessionGrant(
    runnerId: string,
    credentialHash: string,
    sessionId: string,
    purpose: Purpose,
  ): Promise<Result<SessionIdentity>> {
    return this.#command(ctx => sessionGrant(ctx, runnerId, credentialHash, sessionId, purpose))
  }

  async noteLogCut(runnerId: string, credentialHash: string, sessionId: string): Promise<Result<null>> {
    return this.#command(ctx => noteLogCut(ctx, runnerId, credentialHash, sessionId))
  }

  async deregister(runnerId: string, credentialHash: string): Promise<Result<null>> {
    return this.#command(ctx => {
      const known = authenticate(ctx, runnerId, credentialHash)
      if (known.ok) runners.remove(ctx, known.value.runner, false)
      return known.ok ? accepted(null) : known
    })
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
    return this.#command(ctx => runners.removeRunner(ctx, runnerId, force))
  }

  async runnersOnlineByToken(): Promise<Result<Record<string, number>>> {
    return this.#command(ctx => accepted(runners.onlineByToken(ctx)))
  }

  async history({ since, step_ms }: TimeSpan): Promise<Result<PoolSample[]>> {
    return this.#command(ctx => accepted(readSamples(ctx, since, step_ms).map(toPoolSample)))
  }

  async overview(span: TimeSpan): Promise<Result<PoolOverview>> {
    return this.#command(ctx => accepted(overview(ctx, span)))
  }

  /** The doorbell's upgrade. The Worker has asked first, so what is refused here has changed since. */
  override async fetch(request: Request): Promise<Response> {
    const runnerId = request.headers.get(DOORBELL_HEADERS.runnerId) ?? ''
    const hash = request.headers.get(DOORBELL_HEADERS.credentialHash) ?? ''
    const known = await this.authenticateRunner(runnerId, hash)
    return known.ok ? this.#parts.doorbells.upgrade(runnerId, Date.now()) : refusalResponse(known.error)
  }

  override async webSocketMessage(): Promise<void> {
    // A doorbell has nothing to say; its pings are answered without waking the object.
  }

  override async webSocketClose(socket: WebSocket, code: number): Promise<void> {
    this.#doorbellLost(socket)
    echoClose(socket, code)
  }

  override async webSocketError(socket: WebSocket): Promise<void> {
    this.#doorbellLost(socket)
  }

  override async alarm(): Promise<void> {
    this.#parts.alarm.disarmed()
    const pool = this.#pool
    await pool?.onAlarm(() => this.#pool === pool)
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

  #doorbellLost(socket: WebSocket): void {
    const lost = this.#parts.doorbells.lost(socket)
    if (lost === null) return
    this.#command(ctx => accepted(runners.doorbellLost(ctx, lost.runnerId, lost.pongAt)))
  }

  #command<T>(decide: (ctx: PoolContext) => Result<T>): Result<T> {
    return this.#pool === null ? NOT_FOUND : this.#pool.command(decide)
  }

  /** Should the notice be lost: a relay that is in use asks again and again whether its session lives. */
  #endRelay(sessionId: string): void {
    const told = this.env.SESSION_RELAY.getByName(sessionId).sessionEnded()
    this.ctx.waitUntil(
      told.catch(error =>
        logLine('warn', 'relay_not_told', { session_id: sessionId, reason: reasonOf(error) }),
      ),
    )
  }

  #open(load: () => PoolRecord | null): AwakePool | null {
    const record = this.ctx.storage.transactionSync(load)
    this.#pool = record === null ? null : new AwakePool(record, this.#parts)
    return this.#pool
  }
}

function summarise(ctx: PoolContext): PoolSummary {
  return { state: ctx.pool.state, note: ctx.pool.note, stats: runners.stats(ctx) }
}

function refusalResponse(refusal: Refusal): Response {
  return Response.json(refusal, { status: refusal.code === 'not_found' ? 404 : 401 })
}
