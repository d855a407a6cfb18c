import { defineConfig } from 'vitest/config'
import { WORKERS } from '../support/workers.ts'

export default defineConfig({
  test: {
    name: 'runner',
    maxWorkers: WORKERS,
    root: import.meta.dirname,
    include: ['**/*.test.ts'],
    environment: 'node',
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
