import { cloudflareTest, readD1Migrations } from '@cloudflare/vitest-plugin'
import { defineConfig } from 'vitest/config'
import { WORKERS } from '../support/workers.ts'

const root = new URL('../../', import.meta.url).pathname

export default defineConfig({
  plugins: [
    cloudflareTest(async () => ({
      main: `${root}worker/index.ts`,
      miniflare: {
        compatibilityDate: '2026-11-01',
        compatibilityFlags: ['nodejs_compat'],
        d1Databases: { DB: 'directory' },
        durableObjects: {
          RUNNER_POOL: { className: 'RunnerPool', useSQLite: true },
          SESSION_RELAY: { className: 'SessionRelay', useSQLite: true },
          SESSION_FILES: { className: 'SessionFiles', useSQLite: true },
        },
        r2Buckets: { BLOBS: 'blobs' },
        serviceBindings: { ASSETS: () => new Response('an asset') as never },
        bindings: {
          MIGRATIONS: await readD1Migrations(`${root}migrations`),
          OPERATOR_KEY: 'operator-key-of-the-tests',
          Features__SelfHostedRunnersEnabled: 'true',
          Features__SelfHostedRelayEnabled: 'true',
          Docker__DefaultImage: 'docker.io/certyn/agent:v0.1.0',
          // Two whole segments of a log in object storage, and some more.
          SelfHosted__LogCapBytes: String(18 * 1024 * 1024),
        },
      },
    })),
  ],
  test: {
    name: 'worker',
    maxWorkers: WORKERS,
    root,
    include: ['test/worker/*.test.ts'],
    setupFiles: ['./test/worker/setup.ts'],
    globalSetup: ['./test/worker/access-team.ts'],
    // Nothing here waits for a clock; a busy machine only takes longer.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
})
