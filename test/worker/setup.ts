import { applyD1Migrations, type D1Migration } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { beforeAll } from 'vitest'

declare global {
  namespace Cloudflare {
    interface Env {
      DB: D1Database
      RUNNER_POOL: DurableObjectNamespace
      SESSION_RELAY: DurableObjectNamespace
      SESSION_FILES: DurableObjectNamespace
      BLOBS: R2Bucket
      MIGRATIONS: D1Migration[]
      OPERATOR_KEY: string
    }
  }
}

beforeAll(() => applyD1Migrations(env.DB, env.MIGRATIONS))
