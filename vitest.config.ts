import { existsSync } from 'node:fs'
import { defineConfig } from 'vitest/config'
import { WORKERS } from './test/support/workers.ts'

/** Node-side projects need nothing but a name and a folder; those with their own needs have a file of their own. */
function folder(name: string) {
  return {
    test: {
      name,
      include: [`test/${name}/**/*.test.ts`],
      environment: 'node' as const,
      testTimeout: 60_000,
      maxWorkers: WORKERS,
    },
  }
}

const OWN_FILES = ['worker', 'worker/node', 'workerd', 'workerd/telemetry', 'runner', 'agent']
  .map(name => `test/${name}/vitest.config.ts`)
  .filter(file => existsSync(new URL(file, import.meta.url)))

export default defineConfig({
  test: {
    // What a test's processes wrote is shown where the test failed, and nowhere else.
    silent: 'passed-only',
    projects: [
      ...OWN_FILES,
      folder('core'),
      folder('simulation'),
      folder('protocol'),
      folder('dashboard'),
      folder('deploy'),
      // GitHub's own checks of workflows are published in a form that Node alone does not load.
      { test: { ...folder('release').test, server: { deps: { inline: [/@actions\//] } } } },
      folder('cli'),
      {
        test: {
          name: 'architecture',
          include: ['test/*.test.ts'],
          environment: 'node',
          testTimeout: 60_000,
          maxWorkers: WORKERS,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts', 'test/skew/**/*.test.ts'],
          environment: 'node',
          // Real processes and containers: these are ceilings, no result depends on them.
          testTimeout: 240_000,
          hookTimeout: 240_000,
          globalSetup: ['test/support/folders.ts'],
          // Each starts a control plane, daemons and containers of its own.
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
