import { applyD1Migrations, type D1Migration } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeAll, beforeEach, vi } from 'vitest'

declare global {
  namespace Cloudflare {
    interface Env {
      DB: D1Database
      RUNNER_POOL: DurableObjectNamespace
      SESSION_RELAY: DurableObjectNamespace
      SESSION_FILES: DurableObjectNamespace
      BLOBS: R2Bucket
      MIGRATIONS: D1Migration[]
    }
  }
}

beforeAll(() => applyD1Migrations(env.DB, env.MIGRATIONS))

/** The objects' clock runs this far ahead of the runtime's, so that no alarm ever comes by itself. */
const AHEAD_MS = 24 * 3_600_000

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + AHEAD_MS })
})

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})
