import { Command, type CommandUnknownOpts } from '@commander-js/extra-typings'
import type { Command as Untyped } from 'commander'
import { VERSION } from '../protocol/version.ts'
import { addCompletion } from './commands/completion.ts'
import { addDoctor } from './commands/doctor.ts'
import { addEnvironments } from './commands/environments.ts'
import { addLiveLinks } from './commands/live-links.ts'
import { addPeople } from './commands/people.ts'
import { addPools } from './commands/pools.ts'
import { addRunFiles } from './commands/run-files.ts'
import { addRunners } from './commands/runners.ts'
import { addRuns } from './commands/runs.ts'
import { addStartingAndWaiting } from './commands/start-run.ts'
import { addTokens } from './commands/tokens.ts'
import { addWatchRunners } from './commands/watch-runners.ts'
import type { Open, Session } from './session.ts'
import type { GivenOptions } from './settings.ts'

const SETTINGS = `
Settings, from the environment:
  CERTYN_URL           the control plane's address
  CERTYN_API_KEY       an API key; never an argument, which every process could read
  CERTYN_API_KEY_FILE  or the path of a file that holds it
  CERTYN_ALLOW_HTTP    1 takes http:// to other machines than this
  HTTPS_PROXY, NO_PROXY, NODE_EXTRA_CA_CERTS, NO_COLOR are heeded as usual

Exit codes:
  0 done; the run succeeded    1 the run failed, or doctor found a fault    2 wrong arguments or settings
  3 refused                    4 unreachable                                5 the run timed out
  6 the run was cancelled      7 the run could not be carried out           8 waited long enough
  130 interrupted              70 a fault of this program
`

export interface GlobalOptions extends GivenOptions {
  readonly json?: true | undefined
}

export interface ProgramParts {
  /** Makes a session of the options that all commands have. */
  connect(options: GlobalOptions): Session
  /** To the standard output, as it is. */
  print(text: string): void
}

/** Every command there is. */
export function createProgram({ connect, print }: ProgramParts): Untyped {
  const program = new Command('certyn')
    .description('Operates self-hosted runners: pools, runners, environments and runs.')
    .version(VERSION)
    .option('--url <address>', 'the control plane (CERTYN_URL without it)')
    .option('--api-key-file <path>', 'a file that holds the API key (CERTYN_API_KEY without it)')
    .option('--json', 'documents instead of text; their fields are the API’s')
    .configureHelp({ showGlobalOptions: true })
    .addHelpText('after', SETTINGS)
    // Reported in one place, with every other failure.
    .configureOutput({ outputError: () => undefined, writeOut: print })
    .exitOverride()
  const open: Open = () => connect(program.opts())
  addRunCommands(program, open)
  const runners = program.command('runners').description('the hosts of a pool')
  addRunners(runners, open)
  addWatchRunners(runners, open)
  addPools(program, open)
  addTokens(program, open)
  addEnvironments(program, open)
  addLiveLinks(program, open)
  addPeople(program, open)
  addDoctor(program, open)
  addCompletion(program, print)
  return program as unknown as Untyped
}

function addRunCommands(program: CommandUnknownOpts, open: Open): void {
  const runs = program.command('runs').description('what is to be run, and what became of it')
  addStartingAndWaiting(runs, open)
  addRuns(runs, open)
  addRunFiles(runs, open)
}
