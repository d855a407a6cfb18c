import { defineConfig } from 'vitest/config'
import { WORKERS } from '../../support/workers.ts'

export default defineConfig({
  test: {
    name: 'worker-node',
    maxWorkers: WORKERS,
    root: new URL('../../../', import.meta.url).pathname,
    include: ['test/worker/node/**/*.test.ts'],
  },
})
