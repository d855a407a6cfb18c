#!/usr/bin/env node
import { EXIT } from './exit-codes.ts'
import { run } from './run.ts'
import { redacted } from './settings.ts'

/** `certyn`: the client of the admin API for people and for CI. */

// Whoever reads may stop reading, as `head` does.
process.stdout.on('error', error => {
  if (!('code' in error) || error.code !== 'EPIPE') throw error
  process.exit(EXIT.done)
})

try {
  process.exitCode = await run(process.argv.slice(2), process)
} catch (error) {
  const said = error instanceof Error ? (error.stack ?? error.message) : String(error)
  process.stderr.write(`certyn: ${redacted(said)}\n`)
  process.exitCode = EXIT.fault
}
