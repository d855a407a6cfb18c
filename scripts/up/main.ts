import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { pageOf, Runner } from '../../protocol/admin-api.ts'
import { lockState, type StateLock } from '../control-plane/state-lock.ts'
import type { Child } from './child.ts'
import { type Demo, ensureDemo, operatorKey, registrationToken } from './demo.ts'
import { findEngine } from './engine.ts'
import { endSamples, formerSamples, sortFormer } from './former-samples.ts'
import { keepChild } from './kept-child.ts'
import { parseOptions, type UpOptions, USAGE } from './options.ts'
import { takePort } from './port.ts'
import { dockerSample, hostSample, type Sample } from './sample.ts'
import { runSample, showWatched, startWatchedRun } from './samples.ts'

/**
 * `npm run up`: a control plane, a runner and one sample run, all on this machine, with their state in .certyn/.
 * Run again it goes on with the same tenant, pool and runner.
 */
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const READY_LIMIT_MS = 60_000
/** Under another address than before its name is free only when the lease of the one before it has ended. */
const HEARD_LIMIT_MS = 120_000
const POLL_MS = 250
/** One to be watched and one for a run of the user's own. */
const SLOTS_TO_WATCH = 2

const flags = optionsOf(process.argv.slice(2))
const KEYS = path.join(flags.stateDir, 'keys.json')
const RUNNER_LOG = path.join(flags.stateDir, 'logs', 'runner.log')
const children: Child[] = []
let lock: StateLock | null = null
const interrupted = Promise.withResolvers<never>()
// Nobody may be waiting at the moment a signal comes.
interrupted.promise.catch(() => undefined)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => interrupted.reject(new Interrupted()))
}

class Interrupted extends Error {}

function optionsOf(args: readonly string[]): UpOptions {
  if (args.includes('--help') || args.includes('-h')) {
    console.log(USAGE)
    process.exit(0)
  }
  const parsed = parseOptions(args, ROOT, process.env.INIT_CWD ?? process.cwd())
  if (parsed.ok) return parsed.options
  console.error(`npm run up: ${parsed.problem}\n\n${USAGE}`)
  process.exit(2)
}

process.exitCode = await main()
process.exit()

async function main(): Promise<number> {
  try {
    await Promise.race([up(), interrupted.promise])
    return 0
  } catch (error) {
    if (error instanceof Interrupted) {
      console.log('\nStopping. Sessions that still run are left to the next `npm run up`.')
      return flags.once ? 130 : 0
    }
    console.error(`\nnpm run up: ${error instanceof Error ? error.message : String(error)}`)
    return 1
  } finally {
    await stopAll()
  }
}

async function up(): Promise<void> {
  mkdirSync(path.join(flags.stateDir, 'logs'), { recursive: true, mode: 0o700 })
  takeFolder()
  const origin = await startControlPlane()
  const demo = await ensureDemo(origin, KEYS)
  const executor = await chooseExecutor()
  const since = Date.now()
  const runner = await startRunner(origin, demo, executor)
  await Promise.race([samples(origin, demo, executor, since), failureOf(runner)])
  if (flags.once) return
  console.log('Press Ctrl-C to stop.')
  await Promise.race(children.map(failureOf))
}

/** The sample, the summary and the run to watch; only what an earlier `npm run up` has not left running. */
async function samples(origin: string, demo: Demo, executor: ChosenExecutor, since: number): Promise<void> {
  const { sample } = executor
  await heard(demo, executor, since)
  const former = sortFormer(flags.once ? [] : await formerSamples(demo), sample.image, Date.now())
  await endSamples(demo, flags.once ? await formerSamples(demo) : former.end)
  if (former.keep !== null) {
    console.log(`Sample run ${former.keep.id} still runs; going on with it.`)
    printSummary(origin, demo)
    return showWatched(demo, former.keep)
  }
  if (!flags.once && (await freeSlots(demo, executor)) === 0) {
    console.log('Every slot has a run, so there is no sample this time.')
    return printSummary(origin, demo)
  }
  await runSample(demo, sample, RUNNER_LOG)
  const how = sample.live ? ' and drove a page in Chromium' : ''
  console.log(`\nThe sample run succeeded on the ${executor.name} executor${how}.`)
  printSummary(origin, demo)
  if (flags.once || !sample.live) return
  if ((await freeSlots(demo, executor)) >= SLOTS_TO_WATCH) {
    return showWatched(demo, await startWatchedRun(demo, sample))
  }
  console.log(
    'No run stays to be watched, because it would take the last free slot; MAX_CONCURRENCY sets how many there are.',
  )
}

/** Until then the pool has only what an earlier daemon reported. */
async function heard(demo: Demo, executor: ChosenExecutor, since: number): Promise<void> {
  const until = Date.now() + HEARD_LIMIT_MS
  while (Date.now() < until) {
    const heartbeat = (await runnerOf(demo, executor))?.last_heartbeat_at ?? null
    if (heartbeat !== null && Date.parse(heartbeat) > since) return
    await sleep(POLL_MS)
  }
  throw new Error(`the runner was not heard for ${HEARD_LIMIT_MS / 1000} s; its log is ${RUNNER_LOG}`)
}

async function freeSlots(demo: Demo, executor: ChosenExecutor): Promise<number> {
  const runner = await runnerOf(demo, executor)
  return runner === undefined ? 0 : runner.slots.max - runner.slots.busy
}

async function runnerOf({ api, poolId }: Demo, executor: ChosenExecutor): Promise<Runner | undefined> {
  const { items } = await api.get(`/pools/${poolId}/runners?limit=200`, pageOf(Runner))
  return items.find(({ name }) => name === runnerName(executor))
}

function runnerName({ name }: ChosenExecutor): string {
  return `demo-runner-${name}`
}

/** Two at once would write into one another's logs, and each would blame a part of the other's. */
function takeFolder(): void {
  const locked = lockState(flags.stateDir, '`npm run up`')
  if (!locked.ok) throw new Error(`${locked.problem}: use that one, or stop it first`)
  lock = locked.lock
}

async function startControlPlane(): Promise<string> {
  const port = await takePort(flags.port, path.join(flags.stateDir, 'port'))
  console.log('Starting the control plane ...')
  const child = keepChild({
    name: 'control plane',
    program: 'scripts/control-plane/main.ts',
    args: ['--port', String(port), '--state-dir', path.join(flags.stateDir, 'control-plane')],
    env: {
      Features__SelfHostedRunnersEnabled: 'true',
      Features__SelfHostedRelayEnabled: 'true',
      ...process.env,
      OPERATOR_KEY: operatorKey(KEYS, process.env.OPERATOR_KEY),
    },
    logFile: path.join(flags.stateDir, 'logs', 'control-plane.log'),
  })
  children.push(child)
  const origin = `http://127.0.0.1:${port}`
  await Promise.race([healthy(origin), failureOf(child)])
  console.log(`  ready on ${origin}`)
  return origin
}

async function healthy(origin: string): Promise<void> {
  const until = Date.now() + READY_LIMIT_MS
  while (Date.now() < until) {
    const answer = await fetch(`${origin}/healthz`, { signal: AbortSignal.timeout(READY_LIMIT_MS) }).catch(
      () => null,
    )
    if (answer?.ok) return
    await sleep(POLL_MS)
  }
  throw new Error(`the control plane did not become ready in ${READY_LIMIT_MS / 1000} s`)
}

interface ChosenExecutor {
  readonly name: 'docker' | 'host'
  readonly sample: Sample
  readonly socket: string | null
}

async function chooseExecutor(): Promise<ChosenExecutor> {
  const engine = await findEngine(process.env.DOCKER_HOST)
  if (engine.docker === null) return await useHost(engine.why)
  try {
    const sample = await dockerSample(engine.docker)
    console.log(`Using the docker executor: sessions are containers on the Engine at ${engine.socket}.`)
    return { name: 'docker', sample, socket: engine.socket }
  } catch (error) {
    return await useHost(
      `no image for the sample run: ${error instanceof Error ? error.message : String(error)}`,
    )
  }
}

async function useHost(why: string): Promise<ChosenExecutor> {
  console.log(
    `Using the host executor (${why}): sessions are plain processes of this user, without isolation.`,
  )
  return { name: 'host', sample: await hostSample(ROOT), socket: null }
}

async function startRunner(origin: string, demo: Demo, executor: ChosenExecutor): Promise<Child> {
  console.log('Starting a runner ...')
  const token = await registrationToken(demo)
  const { DOCKER_HOST: _, ...environment } = process.env
  const child = keepChild({
    name: 'runner',
    program: 'runner/main.ts',
    args: [],
    env: {
      ...environment,
      CONTROL_PLANE_URL: origin,
      RUNNER_POOL_ID: demo.poolId,
      REGISTRATION_TOKEN: token,
      RUNNER_NAME: runnerName(executor),
      MAX_CONCURRENCY: process.env.MAX_CONCURRENCY ?? '2',
      RUNNER_STATE_DIR: path.join(flags.stateDir, `runner-${executor.name}`),
      RUNNER_EXECUTOR: executor.name,
      ...(executor.socket !== null && { DOCKER_HOST: `unix://${executor.socket}` }),
    },
    logFile: RUNNER_LOG,
  })
  children.push(child)
  return child
}

function printSummary(origin: string, demo: Demo): void {
  console.log(`
  Dashboard   ${origin}/   (sign in with the admin key)
  API         ${origin}/api/v1   (reference: ${origin}/docs)
  Admin key   ${demo.adminKey}
  Pool        ${demo.poolId}
  Environment ${demo.environmentId}
  Logs        ${path.join(flags.stateDir, 'logs')}
`)
}

/** Rejects when the child has ended and is not started again. */
async function failureOf(child: Child): Promise<never> {
  const { how } = await child.ended
  throw new Error(`the ${child.name} ended (${how}). Its last lines (${child.logFile}):\n${child.tail(15)}`)
}

/** The runner first: it says goodbye to the control plane. */
async function stopAll(): Promise<void> {
  for (const child of [...children].reverse()) await child.stop()
  lock?.release()
}
