import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    name: 'worker-node',
    root: new URL('../../../', import.meta.url).pathname,
    include: ['test/worker/node/**/*.test.ts'],
  },
})
