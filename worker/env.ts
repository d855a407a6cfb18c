import type { RunnerPoolRpc } from '../durable-objects/runner-pool/rpc.ts'

/** A pool's object as the Worker sees it: typed calls, and `fetch` for the doorbell's upgrade alone. */
export interface PoolStub extends RunnerPoolRpc {
  fetch(request: Request): Promise<Response>
}

/** What wrangler.toml binds. Settings are read by `durable-objects/settings.ts` and by nothing else. */
export interface Env {
  readonly DB: D1Database
  readonly RUNNER_POOL: { getByName(poolId: string): PoolStub }
  /** Calls without a valid credential, per address. Absent means unlimited. */
  readonly LIMIT_UNAUTHENTICATED?: RateLimit
  /** Calls per credential. Absent means unlimited. */
  readonly LIMIT_KEY?: RateLimit
}
