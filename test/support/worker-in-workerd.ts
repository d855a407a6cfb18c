import { cloudflareTest, readD1Migrations } from '@cloudflare/vitest-plugin'
import type { UserWorkspaceConfig } from 'vitest/config'
import { WORKERS } from './workers.ts'

const root = new URL('../../', import.meta.url).pathname

type PoolOptions = Exclude<Parameters<typeof cloudflareTest>[0], (...parts: never) => unknown>
type Miniflare = NonNullable<PoolOptions['miniflare']>

/** A project whose tests run in workerd beside the Worker as it is deployed, with all that it is bound to. */
export function workerInWorkerd(
  test: UserWorkspaceConfig['test'],
  bindings: Readonly<Record<string, string>>,
  more: Miniflare = {},
): UserWorkspaceConfig {
  return {
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
          bindings: {
            MIGRATIONS: await readD1Migrations(`${root}migrations`),
            Features__SelfHostedRunnersEnabled: 'true',
            ...bindings,
          },
          ...more,
        },
      })),
    ],
    test: {
      maxWorkers: WORKERS,
      root,
      // The clock is the tests' own, or nothing waits for one; a busy machine only takes longer.
      testTimeout: 120_000,
      hookTimeout: 120_000,
      ...test,
    },
  }
}
