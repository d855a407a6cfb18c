import { spawn } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { constants } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { workerBundle } from '../control-plane/worker-bundle.ts'

/**
 * `npm test`: builds what the tests start, runs every vitest project and closes with one line that sums them up.
 * Arguments go to vitest as they are.
 */
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const RESULTS = path.join(ROOT, 'dist', 'test-results.json')

const Results = z.object({
  numPassedTests: z.number(),
  numFailedTests: z.number(),
  numPendingTests: z.number(),
  numTodoTests: z.number(),
  numFailedTestSuites: z.number(),
  success: z.boolean(),
})

await workerBundle(ROOT)
rmSync(RESULTS, { force: true })
const vitest = spawn(
  process.execPath,
  [
    path.join(ROOT, 'node_modules', 'vitest', 'vitest.mjs'),
    'run',
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${RESULTS}`,
    ...process.argv.slice(2),
  ],
  { cwd: ROOT, stdio: 'inherit' },
)
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => vitest.kill(signal))
vitest.on('exit', (code, signal) => {
  const results = read()
  if (results !== undefined) {
    const skipped = results.numPendingTests + results.numTodoTests
    // A file that could not even be loaded counts no test; it must not read as if all had passed.
    const failed = results.success ? 0 : Math.max(1, results.numFailedTests)
    console.log(
      `${results.numPassedTests} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`,
    )
  }
  process.exit(code ?? 128 + (signal === null ? 0 : constants.signals[signal]))
})

function read(): z.infer<typeof Results> | undefined {
  try {
    return Results.parse(JSON.parse(readFileSync(RESULTS, 'utf8')))
  } catch {
    return undefined
  }
}
