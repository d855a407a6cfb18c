import { spawn } from 'node:child_process'
import { readdirSync, rmSync } from 'node:fs'
import { mkdir, open, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { SessionId } from '../../../protocol/ids.ts'
import type { Exit, Job } from '../../../protocol/runner-api.ts'
import { type Clock, kernelBootId, sleep } from '../../clock.ts'
import type { Config } from '../../config.ts'
import { type Policy, refusalOf } from '../../policy.ts'
import type { ExitFacts, Found } from '../../session-types.ts'
import { createFileAtomic, readJsonFile, writeFileAtomic } from '../../state/files.ts'
import type { StateDirectory } from '../../state/state-directory.ts'
import type { Ended, Executor, Failed, NotRunning, Prepared, Running, Signalled } from '../executor.ts'
import { networkVariables } from '../network-variables.ts'
import { HostClaim, HostExit, HostProcess, HostSpec, hostFiles } from './host-files.ts'
import { isAlive } from './process-identity.ts'

/** How long a fresh shim may take to say that the command runs. */
const START_LIMIT_MS = 15_000
/** From a claim to the command's process: a signal that comes in between waits for whom to send it to. */
const CLAIM_LIMIT_MS = 5_000
const POLL_MS = 100
const OUTPUT_READ_BYTES = 256 * 1024

export interface HostExecutorParts {
  readonly state: Pick<StateDirectory, 'createSessionFolder' | 'hostPath'>
  readonly policy: Policy
  readonly config: Pick<
    Config,
    'RUNNER_LOG_CAP_MB' | 'RUNNER_JOB_HTTPS_PROXY' | 'RUNNER_JOB_NO_PROXY' | 'RUNNER_JOB_CA_FILE'
  >
  readonly runIdOf: (sessionId: string) => string
  readonly clock: Clock
  /** Arguments that start this program again; the shim is one of its own subcommands. */
  readonly ownCommand: readonly [string, ...string[]]
}

type Seen =
  | { readonly state: 'none' | 'created' }
  | { readonly state: 'running'; readonly process: HostProcess | null }
  | ({ readonly state: 'exited' } & ExitFacts)

/** Runs commands as plain processes of this user: no image, no limits, no isolation. For those who ask for it. */
export class HostExecutor implements Executor {
  readonly name = 'host'
  readonly #parts: HostExecutorParts

  constructor(parts: HostExecutorParts) {
    this.#parts = parts
  }

  async ready(): Promise<void> {
    await mkdir(this.#parts.state.hostPath, { recursive: true, mode: 0o700 })
  }

  async list(): Promise<Found[]> {
    const found: Found[] = []
    for (const name of readdirSync(this.#parts.state.hostPath)) {
      if (!SessionId.safeParse(name).success) continue
      const seen = this.#look(name)
      const base = { session_id: name, image_digest: null }
      if (seen.state === 'created') found.push({ ...base, state: 'created' })
      if (seen.state === 'running')
        found.push({ ...base, state: 'running', ...this.#runningFacts(seen.process) })
      if (seen.state === 'exited') found.push({ ...base, ...seen })
    }
    return found
  }

  async prepare(_sessionId: string, job: Job): Promise<Prepared | Failed> {
    const refusal = refusalOf(this.#parts.policy, job)
    if (refusal !== null) return failed({ code: null, reason: 'policy_denied', message: refusal })
    if (job.command !== null) return { type: 'prepared', image_digest: null, agent_version: null }
    const message = 'the host executor has no image to take a command from; give the run a command'
    return failed({ code: 127, reason: 'command_not_found', message })
  }

  async create(sessionId: string, job: Job): Promise<{ type: 'created' } | Failed> {
    if (this.#look(sessionId).state !== 'none') return { type: 'created' }
    const cwd = await this.#parts.state.createSessionFolder(sessionId)
    const directory = this.#directory(sessionId)
    await mkdir(directory, { recursive: true, mode: 0o700 })
    const { config } = this.#parts
    const env = {
      PATH: process.env.PATH ?? '/usr/local/bin:/usr/bin:/bin',
      ...networkVariables({
        httpsProxy: config.RUNNER_JOB_HTTPS_PROXY,
        noProxy: config.RUNNER_JOB_NO_PROXY,
        caFile: config.RUNNER_JOB_CA_FILE && resolve(config.RUNNER_JOB_CA_FILE),
      }),
      HOME: '/tmp',
      ...job.env,
      CERTYN_RUN_ID: this.#parts.runIdOf(sessionId),
      CERTYN_SESSION_ID: sessionId,
      CERTYN_ARTIFACTS_DIR: join(cwd, 'artifacts'),
      CERTYN_STREAM_SOCKET: join(cwd, 'stream.sock'),
    }
    const log_cap_mb = config.RUNNER_LOG_CAP_MB
    const spec: HostSpec = { command: job.command ?? [], env, cwd, log_cap_mb }
    await writeFileAtomic(hostFiles(directory).spec, JSON.stringify(spec), true)
    return { type: 'created' }
  }

  async start(sessionId: string): Promise<Running | Ended | Failed> {
    let hasEnded = false
    if (this.#look(sessionId).state === 'created') {
      const [program, ...args] = this.#parts.ownCommand
      const child = spawn(program, [...args, 'host-shim', this.#directory(sessionId)], {
        detached: true,
        stdio: 'ignore',
        env: { PATH: process.env.PATH ?? '' },
      })
      const onEnd = () => {
        hasEnded = true
      }
      child.on('error', onEnd).on('exit', onEnd)
      child.unref()
    }
    for (let waited = 0; waited < START_LIMIT_MS; waited += POLL_MS) {
      const isOver = hasEnded
      const seen = this.#look(sessionId)
      if (seen.state === 'exited') return { type: 'exited', ...seen }
      if (seen.state === 'running' && seen.process !== null) {
        return { type: 'running', ...this.#runningFacts(seen.process) }
      }
      if (isOver && seen.state === 'created') {
        throw new Error('the process beside the command ended before it began; is the disk full?')
      }
      await sleep(POLL_MS)
    }
    throw new Error('the process beside the command did not come up')
  }

  async signal(
    sessionId: string,
    signal: 'SIGTERM' | 'SIGKILL',
    abort?: AbortSignal,
  ): Promise<Signalled | NotRunning> {
    const seen = await this.#lookForCommand(sessionId, abort)
    if (seen.state === 'none') return { type: 'not_running', container: false }
    if (seen.state === 'created') {
      // Takes the only permission there is to start the command, in case a shim is still on its way.
      const files = hostFiles(this.#directory(sessionId))
      const claim = { kernel: kernelBootId(), shim: { pid: process.pid, start: 'never' } }
      createFileAtomic(files.claim, JSON.stringify(claim))
      rmSync(files.spec, { force: true })
      return { type: 'not_running', container: true }
    }
    if (seen.state === 'running' && seen.process?.command) {
      const { command } = seen.process
      if (isAlive(command)) process.kill(-command.pid, signal)
    }
    return { type: 'signalled' }
  }

  async wait(sessionId: string, signal: AbortSignal): Promise<Ended> {
    while (!signal.aborted) {
      const seen = this.#look(sessionId)
      if (seen.state === 'exited') return { type: 'exited', ...seen }
      if (seen.state !== 'running') throw new Error('the session’s files are gone')
      await sleep(POLL_MS, signal)
    }
    throw new Error('aborted')
  }

  async *output(sessionId: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const file = await open(hostFiles(this.#directory(sessionId)).output, 'r').catch(() => null)
    if (file === null) return
    try {
      const bytes = Buffer.alloc(OUTPUT_READ_BYTES)
      for (let at = 0; ; ) {
        const isOver = this.#look(sessionId).state !== 'running'
        const { bytesRead } = await file.read(bytes, 0, bytes.length, at)
        at += bytesRead
        if (bytesRead > 0) yield bytes.subarray(0, bytesRead)
        else if (isOver) return
        else await sleep(POLL_MS, signal)
        signal.throwIfAborted()
      }
    } finally {
      await file.close()
    }
  }

  async remove(sessionId: string, abort?: AbortSignal): Promise<void> {
    await this.signal(sessionId, 'SIGKILL', abort)
    // The shim may be writing how its command ended just now.
    await rm(this.#directory(sessionId), { recursive: true, force: true, maxRetries: 5, retryDelay: 50 })
  }

  #directory(sessionId: string): string {
    return join(this.#parts.state.hostPath, sessionId)
  }

  /** @throws when the session was claimed and its command still is not there, which a repeat may find */
  async #lookForCommand(sessionId: string, abort: AbortSignal | undefined): Promise<Seen> {
    for (let waited = 0; waited < CLAIM_LIMIT_MS; waited += POLL_MS) {
      abort?.throwIfAborted()
      const seen = this.#look(sessionId)
      if (seen.state !== 'running' || seen.process !== null) return seen
      await sleep(POLL_MS, abort)
    }
    throw new Error('the command is about to start, and cannot be signalled before it has')
  }

  /**
   * A shim claims the session, then removes its spec, and writes the exit just before it ends: each file is looked for
   * before the one that takes its place, so that no session seems to be gone in between.
   */
  #look(sessionId: string): Seen {
    const files = hostFiles(this.#directory(sessionId))
    const sameKernel = (kernel: string) => kernel !== '' && kernel === kernelBootId()
    const spec = readJsonFile(files.spec, HostSpec)
    const claim = readJsonFile(files.claim, HostClaim)
    const started = readJsonFile(files.process, HostProcess)
    const alive = claim !== null && sameKernel(claim.kernel) && isAlive(claim.shim)
    const orphan = started?.command && sameKernel(started.kernel) && isAlive(started.command)
    const exit = readJsonFile(files.exit, HostExit)
    if (exit !== null) return { state: 'exited', ...this.#exitFacts(exit) }
    if (alive || orphan) return { state: 'running', process: started }
    if (claim === null) return { state: spec === null ? 'none' : 'created' }
    const message = 'the process beside the command ended without a result; the command may have run'
    const lost: Exit = { code: null, reason: 'engine_error', message }
    const facts = {
      exit: lost,
      started_at: started?.started_at ?? null,
      finished_at: new Date().toISOString(),
    }
    return { state: 'exited', ...this.#exitFacts(facts) }
  }

  #runningFacts(process: HostProcess | null): { startedAtMs: number; started_at: string } {
    const { clock } = this.#parts
    if (process !== null) return { startedAtMs: process.started_at_ms, started_at: process.started_at }
    return { startedAtMs: clock.now(), started_at: new Date(clock.wallMs()).toISOString() }
  }

  #exitFacts({ exit, started_at, finished_at }: HostExit): ExitFacts {
    const { clock } = this.#parts
    const finishedAtMs = Math.round(clock.now() - (clock.wallMs() - Date.parse(finished_at)))
    return { exit, started_at, finished_at, finishedAtMs, notices: [] }
  }
}

function failed(exit: Exit): Failed {
  return { type: 'failed', container: false, exit }
}
