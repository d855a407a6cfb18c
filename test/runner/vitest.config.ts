import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    name: 'runner',
    root: import.meta.dirname,
    include: ['**/*.test.ts'],
    environment: 'node',
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
