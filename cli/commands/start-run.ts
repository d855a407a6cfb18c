import type { CommandUnknownOpts } from '@commander-js/extra-typings'
import type { z } from 'zod'
import { IdempotencyKey } from '../../protocol/admin-api.ts'
import { RunId } from '../../protocol/ids.ts'
import { type CreateRun, Run } from '../../protocol/run.ts'
import { environmentIdOf } from '../api/find.ts'
import { as, number, pair, seconds, variable, variablesOf, whole } from '../input/values.ts'
import { type Interrupts, listenForInterrupts } from '../interrupts.ts'
import type { Open, Session } from '../session.ts'
import { examples } from './list.ts'
import { showRun } from './runs.ts'
import { CANCEL_ON_INTERRUPT, FOLLOW, showUntilEnd, WAIT_TIMEOUT } from './wait-for-run.ts'

const EXAMPLES = examples(
  'certyn runs start staging -- npx playwright test',
  'certyn runs start staging --wait --cancel-on-interrupt --env BASE_URL --timeout 30m -- npm test',
)

export function addStartingAndWaiting(runs: CommandUnknownOpts, open: Open): void {
  addStart(runs, open)
  runs
    .command('wait')
    .description('wait for a run’s end; the exit code says how it ended')
    .argument('<run>', 'id', as(RunId))
    .addOption(FOLLOW)
    .addOption(CANCEL_ON_INTERRUPT)
    .addOption(WAIT_TIMEOUT)
    .addHelpText('after', examples('certyn runs wait run_01kb4yq3v8e9c9v3m2d0f4k6ha --wait-timeout 1h'))
    .action(async (id, options) => {
      const session = open()
      session.exitCode = await showUntilEnd(session, id, options, listenForInterrupts())
    })
}

function addStart(runs: CommandUnknownOpts, open: Open): void {
  runs
    .command('start')
    .description('start a run; with --wait or --follow the exit code says how it ended')
    .argument('<environment>', 'id or name')
    .argument('[command...]', 'behind --: the program and its arguments, the image’s own without them')
    .option('--image <image>', 'the environment’s without it')
    .option('-e, --env <name[=value]>', 'repeatable; a name alone takes the value it has here', variable)
    .option('--env-file <path>', 'lines of NAME=VALUE; --env comes before it')
    .option('--label <key=value>', 'repeatable; only runners that have it', pair)
    .option('--metadata <key=value>', 'repeatable; kept with the run', pair)
    .option('--priority <number>', 'from -100 to 100, higher first', whole)
    .option('--timeout <duration>', 'of the run itself, such as 90s or 30m', seconds)
    .option('--queue-timeout <duration>', 'of waiting for a runner', seconds)
    .option('--max-attempts <count>', 'when a runner fails it', whole)
    .option('--memory-mb <mb>', 'memory', whole)
    .option('--cpus <number>', 'CPUs, also a part of one', number)
    .option('--shm-mb <mb>', 'shared memory, which browsers need', whole)
    .option('--no-stream', 'it will not be watched live')
    .option('--idempotency-key <key>', 'the same key starts the same run once (24 h)', as(IdempotencyKey))
    .option('--wait', 'until its end')
    .addOption(FOLLOW)
    .addOption(CANCEL_ON_INTERRUPT)
    .addOption(WAIT_TIMEOUT)
    .addHelpText('after', EXAMPLES)
    .action(async (environment, command, options) => {
      const session = open()
      const isWaiting = options.wait === true || options.follow === true
      const interrupts = isWaiting ? listenForInterrupts() : null
      const wanted = {
        path: `/environments/${await environmentIdOf(session.api, environment)}/runs`,
        body: bodyOf(command, options),
        // A reply that is lost is asked for again, and starts nothing twice.
        key: options.idempotencyKey ?? crypto.randomUUID(),
      }
      if (interrupts === null) return showRun(session.out, await start(session, wanted))
      const started = start(session, wanted)
      const run = options.cancelOnInterrupt ? await started : await unlessInterrupted(started, interrupts)
      if (run === null) {
        const again = `--idempotency-key ${wanted.key}`
        session.out.note(`left before it was known whether the run has started; ${again} gives the same run`)
        session.exitCode = interrupts.exitCode
        return
      }
      session.out.note(`started ${run.id}`)
      session.exitCode = await showUntilEnd(session, run.id, options, interrupts)
    })
}

interface Wanted {
  readonly path: string
  readonly body: z.input<typeof CreateRun>
  readonly key: string
}

function start({ api }: Session, { path, body, key }: Wanted): Promise<Run> {
  return api.call('POST', path, Run, { body, headers: { 'idempotency-key': key }, repeat: 'safe' })
}

async function unlessInterrupted(started: Promise<Run>, { first }: Interrupts): Promise<Run | null> {
  const interrupted = new Promise<null>(resolve => {
    first.addEventListener('abort', () => resolve(null), { once: true })
    if (first.aborted) resolve(null)
  })
  started.catch(() => undefined)
  return await Promise.race([started, interrupted])
}

interface BodyOptions {
  readonly image?: string | undefined
  readonly env?: Record<string, string> | undefined
  readonly envFile?: string | undefined
  readonly label?: Record<string, string> | undefined
  readonly metadata?: Record<string, string> | undefined
  readonly priority?: number | undefined
  readonly timeout?: number | undefined
  readonly queueTimeout?: number | undefined
  readonly maxAttempts?: number | undefined
  readonly memoryMb?: number | undefined
  readonly cpus?: number | undefined
  readonly shmMb?: number | undefined
  readonly stream: boolean
}

/** What is not said is left out, so that the defaults are the control plane's. */
function bodyOf(command: readonly string[], options: BodyOptions): z.input<typeof CreateRun> {
  const fromFile = options.envFile === undefined ? {} : variablesOf(options.envFile)
  return {
    image: options.image,
    command: command.length === 0 ? undefined : [...command],
    env: { ...fromFile, ...options.env },
    labels: options.label,
    metadata: options.metadata,
    priority: options.priority,
    timeout_seconds: options.timeout,
    queue_timeout_seconds: options.queueTimeout,
    max_attempts: options.maxAttempts,
    resources: { memory_mb: options.memoryMb, cpus: options.cpus, shm_mb: options.shmMb },
    stream: options.stream ? undefined : false,
  }
}
