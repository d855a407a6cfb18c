import { mkdirSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { CreatedLiveLink } from '../../protocol/live.ts'
import { isTerminal, Placement, Run } from '../../protocol/run.ts'
import { lockState, type StateLock } from '../control-plane/state-lock.ts'
import { type Child, startChild } from './child.ts'
import { type Demo, ensureDemo, operatorKey, registrationToken } from './demo.ts'
import { findEngine } from './engine.ts'
import { dockerSample, hostSample, type Sample } from './sample.ts'

/**
 * `npm run up`: a control plane, a runner and one sample run, all on this machine, with their state in .certyn/.
 * Run again it goes on with the same tenant, pool and runner.
 */
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const FOLDER = path.join(ROOT, '.certyn')
const KEYS = path.join(FOLDER, 'keys.json')
const DEFAULT_PORT = 8787
const READY_LIMIT_MS = 60_000
const SAMPLE_LIMIT_MS = 180_000
const POLL_MS = 250
/** After this long in the queue, say what the run is waiting for. */
const EXPLAIN_AFTER_MS = 15_000
/** Enough to see that the page moves; the one to be watched stays for as long as somebody may want to look. */
const SAMPLE_SECONDS = 3
const WATCHED_SECONDS = 1800

const flags = parseFlags()
const children: Child[] = []
let lock: StateLock | null = null
const interrupted = Promise.withResolvers<never>()
// Nobody may be waiting at the moment a signal comes.
interrupted.promise.catch(() => undefined)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => interrupted.reject(new Interrupted()))
}

class Interrupted extends Error {}

function parseFlags(): { once?: boolean; port?: string } {
  try {
    const { values } = parseArgs({ options: { once: { type: 'boolean' }, port: { type: 'string' } } })
    if (/^\d{1,5}$/.test(values.port ?? '0') && Number(values.port ?? 0) <= 65_535) return values
    console.error('npm run up: --port: expected 0 to 65535')
  } catch (error) {
    console.error(`npm run up: ${error instanceof Error ? error.message : String(error)}`)
  }
  console.error('Usage: npm run up [-- [--once] [--port 8787]]')
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
  mkdirSync(path.join(FOLDER, 'logs'), { recursive: true, mode: 0o700 })
  takeFolder()
  const origin = await startControlPlane()
  const demo = await ensureDemo(origin, KEYS)
  const executor = await chooseExecutor()
  const runner = await startRunner(origin, demo, executor)
  await Promise.race([sampleRun(demo, executor.sample), failureOf(runner)])
  printSummary(origin, demo, executor)
  if (flags.once) return
  if (executor.sample.live) await startWatchedRun(demo, executor.sample)
  console.log('Press Ctrl-C to stop.')
  await Promise.race(children.map(failureOf))
}

/** Two at once would write into one another's logs, and each would blame a part of the other's. */
function takeFolder(): void {
  const locked = lockState(FOLDER, '`npm run up`')
  if (!locked.ok) throw new Error(`${locked.problem}: use that one, or stop it first`)
  lock = locked.lock
}

async function startControlPlane(): Promise<string> {
  const port = await freePort()
  console.log('Starting the control plane ...')
  const child = startChild({
    name: 'control plane',
    program: 'scripts/control-plane/main.ts',
    args: ['--port', String(port), '--state-dir', path.join(FOLDER, 'control-plane')],
    env: {
      Features__SelfHostedRunnersEnabled: 'true',
      Features__SelfHostedRelayEnabled: 'true',
      ...process.env,
      OPERATOR_KEY: operatorKey(KEYS, process.env.OPERATOR_KEY),
    },
    logFile: path.join(FOLDER, 'logs', 'control-plane.log'),
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
  const child = startChild({
    name: 'runner',
    program: 'runner/main.ts',
    args: [],
    env: {
      ...environment,
      CONTROL_PLANE_URL: origin,
      RUNNER_POOL_ID: demo.poolId,
      REGISTRATION_TOKEN: token,
      RUNNER_NAME: `demo-runner-${executor.name}`,
      MAX_CONCURRENCY: process.env.MAX_CONCURRENCY ?? '2',
      RUNNER_STATE_DIR: path.join(FOLDER, `runner-${executor.name}`),
      RUNNER_EXECUTOR: executor.name,
      ...(executor.socket !== null && { DOCKER_HOST: `unix://${executor.socket}` }),
    },
    logFile: path.join(FOLDER, 'logs', 'runner.log'),
  })
  children.push(child)
  return child
}

function sampleBody(sample: Sample, seconds: number) {
  return {
    image: sample.image,
    ...sample.run(seconds),
    timeout_seconds: seconds + 60,
    queue_timeout_seconds: 600,
    stream: sample.live,
  }
}

/** One more, which stays, and a link with which anybody may watch and drive it. */
async function startWatchedRun({ api, environmentId }: Demo, sample: Sample): Promise<void> {
  const body = sampleBody(sample, WATCHED_SECONDS)
  let run = await api.post(`/environments/${environmentId}/runs`, body, Run)
  while (run.status !== 'running') {
    if (isTerminal(run.status))
      throw new Error(`the run to watch ${run.status}: ${run.failure?.message ?? 'no reason'}`)
    await sleep(POLL_MS)
    run = await api.get(`/runs/${run.id}`, Run)
  }
  const link = { mode: 'control', expires_in_seconds: WATCHED_SECONDS, max_viewers: 10 }
  const { url } = await api.post(`/runs/${run.id}/live-links`, link, CreatedLiveLink)
  console.log(
    `Watch a run live, and drive its page, for the next ${WATCHED_SECONDS / 60} minutes:\n  ${url}\n`,
  )
}

async function sampleRun({ api, environmentId }: Demo, sample: Sample): Promise<void> {
  const body = sampleBody(sample, SAMPLE_SECONDS)
  let run = await api.post(`/environments/${environmentId}/runs`, body, Run)
  console.log(`Sample run ${run.id}`)
  const started = Date.now()
  let said = ''
  let explained = false
  while (!isTerminal(run.status)) {
    if (run.status !== said) console.log(`  ${run.status}`)
    said = run.status
    const waited = Date.now() - started
    if (waited > SAMPLE_LIMIT_MS)
      throw new Error(`the sample run is still ${run.status} after ${waited / 1000} s`)
    if (run.status === 'queued' && waited > EXPLAIN_AFTER_MS && !explained) {
      explained = true
      const { waiting_for } = await api.get(`/runs/${run.id}/placement`, Placement)
      console.log(
        `  waiting for ${waiting_for ?? 'nothing'}; the runner's log is ${path.join(FOLDER, 'logs', 'runner.log')}`,
      )
    }
    await sleep(POLL_MS)
    run = await api.get(`/runs/${run.id}`, Run)
  }
  console.log(`  ${run.status}${run.exit_code === null ? '' : `, exit code ${run.exit_code}`}`)
  if (run.status !== 'succeeded') {
    const { failure } = run
    throw new Error(
      `the sample run ${run.status}: ${failure === null ? 'no reason' : `${failure.code}: ${failure.message}`}`,
    )
  }
}

function printSummary(origin: string, demo: Demo, executor: ChosenExecutor): void {
  console.log(`
The sample run succeeded on the ${executor.name} executor${executor.sample.live ? ' and drove a page in Chromium' : ''}.

  Dashboard   ${origin}/   (sign in with the admin key)
  API         ${origin}/api/v1   (reference: ${origin}/docs)
  Admin key   ${demo.adminKey}
  Pool        ${demo.poolId}
  Environment ${demo.environmentId}
  Logs        ${path.join(FOLDER, 'logs')}
`)
}

/** Rejects when the child ends although it should not. */
async function failureOf(child: Child): Promise<never> {
  const how = await child.ended
  throw new Error(`the ${child.name} ended (${how}). Its last lines (${child.logFile}):\n${child.tail(15)}`)
}

/** The runner first: it says goodbye to the control plane. */
async function stopAll(): Promise<void> {
  for (const child of [...children].reverse()) await child.stop()
  lock?.release()
}

async function freePort(): Promise<number> {
  const wanted = Number(flags.port ?? DEFAULT_PORT)
  const got = await tryPort(wanted)
  if (got !== null) return got
  if (flags.port !== undefined) throw new Error(`--port: ${flags.port} is already in use`)
  console.log(`Port ${DEFAULT_PORT} is in use, taking another.`)
  const other = await tryPort(0)
  if (other === null) throw new Error('no free port on 127.0.0.1')
  return other
}

function tryPort(port: number): Promise<number | null> {
  return new Promise(resolve => {
    const server = createServer()
    server.on('error', () => resolve(null))
    server.listen(port, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : null))
    })
  })
}
