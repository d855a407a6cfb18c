import type { Page, PoolState, PoolStats, Runner } from '../../protocol/admin-api.ts'
import type { Result } from '../../protocol/errors.ts'
import type { PoolSample } from '../../protocol/overview.ts'
import type { Placement, Resources, Run } from '../../protocol/run.ts'
import type { Engine, Platform, SyncRequest, SyncResponse } from '../../protocol/runner-api.ts'
import type { Labels } from '../../protocol/text.ts'
import type { SessionIdentity } from '../session-identity.ts'
import type { StreamReport, WatchableSession } from '../session-relay/rpc.ts'
import type { Purpose } from './core/session-grants.ts'

/**
 * What the Worker may ask of a RunnerPool object. Answers are data; a pool that was never initialised
 * answers `not_found` to everything and leaves no table and no alarm.
 */
export interface RunnerPoolRpc {
  /** Creates the object's state. Idempotent; the Worker calls it before the pool's row exists in D1. */
  initialise(identity: PoolIdentity): Promise<void>
  /** What `destroy` would say of the pool's runners and runs; changes nothing. */
  previewDestroy(): Promise<Result<null>>
  /** Erases the object, or `pool_not_empty` while it has live runners or live runs. */
  destroy(): Promise<Result<null>>
  summary(): Promise<Result<PoolSummary>>
  setState(state: PoolState, note: string | null): Promise<Result<PoolSummary>>

  /** Idempotent by run id. `created` is false when the run was already there. */
  enqueue(run: NewRun): Promise<Result<{ run: Run; version: number; created: boolean }>>
  getRun(runId: string): Promise<Result<Run>>
  cancelRun(runId: string): Promise<Result<Run>>
  placement(runId: string): Promise<Result<Placement>>
  /** The live session of the run, or `not_running`. */
  watchableSession(runId: string): Promise<Result<WatchableSession>>
  /** A relay's report of who is there; see `session-relay/`. */
  streamChanged(runId: string, sessionId: string, report: StreamReport): Promise<Result<{ live: boolean }>>

  /**
   * What `register` would say now: `repeat` for the same token, name and boot id before the first sync
   * (counts no use), `new` otherwise, or `runner_name_taken`. Changes nothing.
   */
  previewRegistration(who: RegistrationIdentity): Promise<Result<'new' | 'repeat'>>
  register(registration: Registration): Promise<Result<{ runner_id: string; sync_interval_ms: number }>>
  /** `unauthenticated` unless the hash is this runner's current or pending credential. */
  authenticateRunner(runnerId: string, credentialHash: string): Promise<Result<null>>
  sync(runnerId: string, credentialHash: string, request: SyncRequest): Promise<Result<SyncResponse>>
  /** Stores the next credential; it takes over at its first use. A repeat replaces the pending one. */
  rotateCredential(runnerId: string, credentialHash: string, nextHash: string): Promise<Result<null>>
  /** What this runner may do about the session, see `core/session-grants.ts`; `session_ended` when nothing. */
  sessionGrant(
    runnerId: string,
    credentialHash: string,
    sessionId: string,
    purpose: Purpose,
  ): Promise<Result<SessionIdentity>>
  /** One end or the other keeps no more of the session's log; an event of its run. */
  noteLogCut(runnerId: string, credentialHash: string, sessionId: string): Promise<Result<null>>
  deregister(runnerId: string, credentialHash: string): Promise<Result<null>>

  listRunners(limit: number, cursor: string | null): Promise<Result<Page<Runner>>>
  getRunner(runnerId: string): Promise<Result<Runner>>
  setRunnerState(runnerId: string, state: PoolState, note: string | null): Promise<Result<Runner>>
  /** The credential dies at once. Leases end at TTL + grace from their last renewal, or now with `force`. */
  removeRunner(runnerId: string, force: boolean): Promise<Result<null>>
  /** Online runners per registration token id. */
  runnersOnlineByToken(): Promise<Result<Record<string, number>>>

  /** How the pool did, oldest first. */
  history(span: TimeSpan): Promise<Result<PoolSample[]>>
  /** Everything an overview says of the pool, in one look. */
  overview(span: TimeSpan): Promise<Result<PoolOverview>>
}

export interface PoolIdentity {
  readonly tenant_id: string
  readonly tenant_slug: string
  readonly pool_id: string
}

export interface PoolSummary {
  readonly state: PoolState
  readonly note: string | null
  readonly stats: PoolStats
}

export interface TimeSpan {
  /** Epoch milliseconds. */
  readonly since: number
  /** One sample for so long; never less than the time between two. */
  readonly step_ms: number
}

export interface PoolOverview {
  readonly stats: PoolStats
  readonly samples: PoolSample[]
  /** Of these lists at most as many as an overview shows. */
  readonly offline: { runner_id: string; runner_name: string; since: string }[]
  /** Online, and older than this control plane. */
  readonly behind: { runner_id: string; runner_name: string; version: string }[]
  readonly online_by_token: Record<string, number>
}

/** A run as the Worker has validated and completed it; `image` is final. */
export interface NewRun {
  readonly run_id: string
  readonly environment_id: string
  readonly image: string
  readonly command: readonly string[] | null
  readonly env: Readonly<Record<string, string>>
  readonly timeout_seconds: number
  readonly queue_timeout_seconds: number
  readonly priority: number
  readonly labels: Labels
  readonly resources: Resources
  readonly stream: boolean
  readonly max_attempts: number
  readonly metadata: Readonly<Record<string, string>>
  /** Of the call that creates it, where that is traced. */
  readonly traceparent?: string | undefined
}

export interface RegistrationIdentity {
  readonly token_id: string
  readonly name: string
  readonly boot_id: string
}

export interface Registration extends RegistrationIdentity {
  /** Used when the name is new to the pool; an offline runner of that name keeps its own id. */
  readonly fresh_runner_id: string
  readonly credential_hash: string
  readonly boot: number
  readonly protocol: number
  readonly max_concurrency: number
  readonly labels: Labels
  readonly version: string
  readonly platform: Platform
  readonly engine: Engine | null
}

/** Headers of the websocket upgrade that the Worker forwards to `fetch` for a runner's doorbell. */
export const DOORBELL_HEADERS = {
  runnerId: 'x-certyn-runner-id',
  credentialHash: 'x-certyn-credential-hash',
} as const
