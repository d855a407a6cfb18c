import { fileURLToPath } from 'node:url'
import { VERSION } from '../protocol/version.ts'
import { doctor } from './commands/doctor.ts'
import { health } from './commands/health.ts'
import { run } from './commands/run.ts'
import { runShim } from './executors/host/shim.ts'
import { reasonOf } from './log.ts'
import { SettingsError } from './settings-error.ts'

const USAGE = `usage: runner [command]
  (none)    join the pool and run its sessions
  doctor    check this host and its way to the control plane, with a remedy for each finding
            [--image IMAGE] also look from inside a job container of that image   [--json] for programs
  health    exit 0 if the daemon of this state directory is well
  version   print the release

Settings come from the environment: CONTROL_PLANE_URL, RUNNER_POOL_ID, REGISTRATION_TOKEN and what README.md lists.`

/** This program, however it was started: from its source or from one bundled file. */
const OWN_COMMAND = [process.execPath, ...process.execArgv, fileURLToPath(import.meta.url)] as const

async function main([command, ...args]: readonly string[]): Promise<number> {
  switch (command) {
    case undefined:
      await run(OWN_COMMAND)
      return 0
    case 'doctor':
      return doctor(args, line => process.stdout.write(`${line}\n`))
    case 'health':
      return health(line => process.stdout.write(`${line}\n`)) ? 0 : 1
    case 'help':
    case '--help':
    case '-h':
      process.stdout.write(`${USAGE}\n`)
      return 0
    case 'version':
    case '--version':
      process.stdout.write(`${VERSION}\n`)
      return 0
    // Started by the host executor only.
    case 'host-shim':
      await runShim(args[0] ?? '')
      return 0
    default:
      process.stderr.write(`runner: there is no command ${JSON.stringify(command)}\n${USAGE}\n`)
      return 2
  }
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  const lines = error instanceof SettingsError ? error.message.split('\n') : [reasonOf(error)]
  for (const line of lines) process.stderr.write(`runner: ${line}\n`)
  if (!(error instanceof SettingsError) && error instanceof Error) process.stderr.write(`${error.stack}\n`)
  process.exitCode = 1
}
// Sockets that the Engine or a proxy keeps open must not keep a finished process alive.
process.exit()
