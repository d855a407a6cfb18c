import { defineConfig } from 'drizzle-kit'

export default defineConfig({
  dialect: 'sqlite',
  schema: ['./worker/directory/schema.ts', './durable-objects/runner-pool/history.ts'],
  out: './migrations',
})
