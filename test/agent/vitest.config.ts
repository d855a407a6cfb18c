import { defineConfig } from 'vitest/config'
import { WORKERS } from '../support/workers.ts'

export default defineConfig({
  test: {
    name: 'agent',
    maxWorkers: WORKERS,
    root: import.meta.dirname,
    include: ['**/*.test.ts'],
    environment: 'node',
    // Real browsers, and an image that may have to be made first: ceilings, no result depends on them.
    testTimeout: 120_000,
    hookTimeout: 600_000,
  },
})
