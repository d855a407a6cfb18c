import { mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { buildDashboard } from '../build/dashboard.ts'
import { type Front, listen } from './front.ts'
import { say, sayForRuntime } from './log.ts'
import { type ControlPlaneOptions, parseOptions, USAGE } from './options.ts'
import { type Runtime, startRuntime } from './runtime.ts'
import { lockState, type StateLock } from './state-lock.ts'
import { workerBundle } from './worker-bundle.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const EXIT_WRONG_SETTING = 2
const DAY_MS = 24 * 60 * 60 * 1000

const args = process.argv.slice(2)
if (args.includes('--help') || args.includes('-h')) {
  console.log(USAGE)
  process.exit(0)
}
const parsed = parseOptions(args, process.env, process.env.INIT_CWD ?? process.cwd())
if (!parsed.ok) {
  for (const problem of parsed.problems) say('error', problem)
  process.exit(EXIT_WRONG_SETTING)
}
await run(parsed.options)

async function run(options: ControlPlaneOptions): Promise<void> {
  for (const warning of options.warnings) say('warn', warning)
  const lock = takeState(options.stateDir)
  const front = await takePort(options)
  let runtime: Runtime | undefined
  let stopping = false
  const stop = () => {
    if (stopping) return
    stopping = true
    void shutDown(front, runtime, lock)
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  process.on('SIGHUP', stop)
  try {
    const [script, assets] = [await workerBundle(ROOT), await buildDashboard(ROOT)]
    runtime = await startRuntime({
      root: ROOT,
      script,
      assets,
      stateDir: options.stateDir,
      vars: options.vars,
      log: sayForRuntime,
    })
  } catch (error) {
    if (stopping) return
    return fail(`could not start: ${error instanceof Error ? error.message : String(error)}`)
  }
  if (stopping) return
  for (const name of runtime.migrated) say('info', `applied migration ${name}`)
  front.open(runtime.url)
  sweepDaily(runtime)
  say('info', `ready on ${front.url} (state in ${options.stateDir})`)
}

/** Also at every start, so that a control plane that is often restarted gets its turn. */
function sweepDaily(runtime: Runtime): void {
  const sweep = () =>
    runtime.runScheduled().catch(error => {
      say('error', `the daily sweep failed and is tried again tomorrow: ${String(error)}`)
    })
  void sweep()
  setInterval(sweep, DAY_MS).unref()
}

function takeState(stateDir: string): StateLock {
  try {
    mkdirSync(stateDir, { recursive: true, mode: 0o700 })
    const locked = lockState(stateDir, 'control plane')
    return locked.ok ? locked.lock : fail(locked.problem)
  } catch (error) {
    return fail(
      `--state-dir: ${stateDir} cannot be used: ${error instanceof Error ? error.message : String(error)}`,
    )
  }
}

async function takePort({ host, port }: ControlPlaneOptions): Promise<Front> {
  try {
    return await listen(host, port)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'EADDRINUSE')
      return fail(
        `--port: ${port} on ${host} is already in use; stop what listens there, or give another with --port (0 for any free one)`,
      )
    return fail(
      `--port: cannot listen on ${host}:${port}: ${error instanceof Error ? error.message : String(error)}`,
    )
  }
}

async function shutDown(front: Front, runtime: Runtime | undefined, lock: StateLock): Promise<void> {
  await front.close()
  await runtime?.stop()
  lock.release()
  say('info', 'stopped')
  process.exit(0)
}

function fail(problem: string): never {
  say('error', problem)
  process.exit(1)
}
