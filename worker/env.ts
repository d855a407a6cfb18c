import type { RunnerPoolRpc } from '../durable-objects/runner-pool/rpc.ts'
import type { SessionFilesRpc } from '../durable-objects/session-files/rpc.ts'
import type { SessionRelayRpc } from '../durable-objects/session-relay/rpc.ts'

/** A pool's object as the Worker sees it: typed calls, and `fetch` for the doorbell's upgrade alone. */
export interface PoolStub extends RunnerPoolRpc {
  fetch(request: Request): Promise<Response>
}

/** A session's relay: typed calls, and `fetch` for the upgrades of publishers and viewers. */
export interface RelayStub extends SessionRelayRpc {
  fetch(request: Request): Promise<Response>
}

/** What wrangler.toml binds. Settings are read by `durable-objects/settings.ts` and by nothing else. */
export interface Env {
  readonly DB: D1Database
  readonly RUNNER_POOL: { getByName(poolId: string): PoolStub }
  readonly SESSION_RELAY: { getByName(sessionId: string): RelayStub }
  readonly SESSION_FILES: { getByName(sessionId: string): SessionFilesRpc }
  /** Logs and artifacts. */
  readonly BLOBS: R2Bucket
  /** The built dashboard. Absent in tests that need no page. */
  readonly ASSETS?: { fetch(request: Request): Promise<Response> }
  /** Calls without a valid credential, per address. Absent means unlimited. */
  readonly LIMIT_UNAUTHENTICATED?: RateLimit
  /** Calls per credential. Absent means unlimited. */
  readonly LIMIT_KEY?: RateLimit
}
