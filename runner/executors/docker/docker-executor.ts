import { chmod, copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import type Docker from 'dockerode'
import type { Job } from '../../../protocol/runner-api.ts'
import type { Clock } from '../../clock.ts'
import type { Config } from '../../config.ts'
import type { Found } from '../../daemon/ledger-types.ts'
import { type Policy, refusalOf } from '../../policy.ts'
import { SettingsError } from '../../settings-error.ts'
import type { StateDirectory } from '../../state/state-directory.ts'
import type {
  Ended,
  Executor,
  Failed,
  NotRunning,
  Prepared,
  PrepareHooks,
  Running,
  Signalled,
} from '../executor.ts'
import { classifyFailure } from './classify-failure.ts'
import { exitFacts, foundInRow, foundOf, runningFacts, sessionOf, stateOf } from './containers.ts'
import { EngineTimeout, engineRefusal, type HostFacts, isNotFound, untilStopped, within } from './engine.ts'
import type { ImageFacts, Images } from './images.ts'
import { ensureNetwork } from './network.ts'
import { containerName, containerOptions, LABELS } from './template.ts'
import { deviations } from './verify.ts'

export interface DockerExecutorParts {
  readonly docker: Docker
  readonly images: Images
  readonly host: HostFacts
  readonly policy: Policy
  readonly config: Pick<
    Config,
    'RUNNER_LOG_CAP_MB' | 'RUNNER_JOB_HTTPS_PROXY' | 'RUNNER_JOB_NO_PROXY' | 'RUNNER_JOB_CA_FILE'
  >
  readonly state: Pick<StateDirectory, 'createSessionFolder'>
  /** The `sessions` directory as the Engine's host calls it. */
  readonly hostSessionsPath: string
  readonly installationId: string
  /** Known after registration, which comes before the first session. */
  readonly runnerId: () => string
  readonly runIdOf: (sessionId: string) => string
  readonly clock: Clock
}

/** A listing has its rows to fall back on, so one container that cannot be inspected holds it up no longer than this. */
const ROW_INSPECT_TIMEOUT_MS = 10_000

/** One container per session, found again by its labels and its name, whatever happened to this process. */
export class DockerExecutor implements Executor {
  readonly name = 'docker'
  readonly #parts: DockerExecutorParts

  constructor(parts: DockerExecutorParts) {
    this.#parts = parts
  }

  async ready(signal?: AbortSignal): Promise<void> {
    await ensureNetwork(this.#parts.docker, this.#parts.policy.network, signal)
  }

  async list(signal?: AbortSignal): Promise<Found[]> {
    const { docker, installationId } = this.#parts
    const filters = { label: [`${LABELS.installation}=${installationId}`] }
    const listed = await within(docker, engine => engine.listContainers({ all: true, filters }), { signal })
    const found = await Promise.all(
      listed.map(async row => {
        const sessionId = sessionOf({ names: row.Names, labels: row.Labels }, installationId)
        return sessionId === null ? null : this.#look(row, sessionId, signal)
      }),
    )
    return found.filter(one => one !== null)
  }

  /** @returns null when it was removed since it was listed */
  async #look(row: Docker.ContainerInfo, sessionId: string, signal?: AbortSignal): Promise<Found | null> {
    const { docker, clock } = this.#parts
    const limits = { signal, timeoutMs: ROW_INSPECT_TIMEOUT_MS }
    try {
      const made = await within(docker, engine => engine.getContainer(row.Id).inspect(), limits)
      return foundOf(made, sessionId, clock)
    } catch (error) {
      if (isNotFound(error)) return null
      if (error instanceof EngineTimeout || engineRefusal(error) !== null)
        return foundInRow(row, sessionId, clock)
      throw error
    }
  }

  async prepare(_sessionId: string, job: Job, hooks: PrepareHooks): Promise<Prepared | Failed> {
    const refusal = refusalOf(this.#parts.policy, job)
    if (refusal !== null) {
      return {
        type: 'failed',
        container: false,
        exit: { code: null, reason: 'policy_denied', message: refusal },
      }
    }
    try {
      const image = await this.#parts.images.obtain(job.image, hooks)
      if ('exit' in image) return { type: 'failed', container: false, exit: image.exit }
      return { type: 'prepared', image_digest: image.digest }
    } catch (error) {
      return refused('create', error, false)
    }
  }

  async create(sessionId: string, job: Job): Promise<{ type: 'created' } | Failed> {
    const { docker, images } = this.#parts
    let image: ImageFacts | null
    try {
      image = await images.inspect(job.image)
    } catch (error) {
      return refused('create', error, false)
    }
    if (image === null) {
      return {
        type: 'failed',
        container: false,
        exit: classifyFailure('create', `no such image: ${job.image}`),
      }
    }
    const unready = (await this.#makeFolder(sessionId)) ?? (await this.#restoreNetwork())
    if (unready !== null) return unready
    const options = this.#template(sessionId, job, image)
    try {
      await within(docker, engine => engine.createContainer(options))
      return { type: 'created' }
    } catch (error) {
      if (engineRefusal(error)?.status === 409 && (await this.#inspect(sessionId)) !== null) {
        return { type: 'created' }
      }
      return refused('create', error, false)
    }
  }

  /** @returns null on success */
  async #makeFolder(sessionId: string): Promise<Failed | null> {
    const { state, config } = this.#parts
    try {
      const folder = await state.createSessionFolder(sessionId)
      if (config.RUNNER_JOB_CA_FILE !== null) {
        const copy = join(folder, 'ca.pem')
        await copyFile(config.RUNNER_JOB_CA_FILE, copy)
        // The copy has the original's mode, and the job is another user.
        await chmod(copy, 0o644)
      }
      return null
    } catch (error) {
      const message = `the session folder cannot be made: ${error instanceof Error ? error.message : 'unknown'}`
      return { type: 'failed', container: false, exit: classifyFailure('create', message) }
    }
  }

  /** Cleaning up an Engine removes networks that nobody uses at that time. @returns null on success */
  async #restoreNetwork(): Promise<Failed | null> {
    try {
      await ensureNetwork(this.#parts.docker, this.#parts.policy.network)
      return null
    } catch (error) {
      if (!(error instanceof SettingsError)) return refused('start', error, false)
      const message = error.message.slice(0, 1000)
      return {
        type: 'failed',
        container: false,
        exit: { code: null, reason: 'network_unreachable', message },
      }
    }
  }

  async start(sessionId: string, job: Job): Promise<Running | Ended | Failed> {
    const before = await this.#inspect(sessionId)
    if (before === null) return gone()
    const found = foundOf(before, sessionId, this.#parts.clock)
    if (found.state !== 'created') return this.#outcome(sessionId, before)
    let wrong: string | null
    try {
      wrong = await this.#deviations(sessionId, job, before)
    } catch (error) {
      return refused('create', error, true)
    }
    if (wrong !== null) {
      await this.remove(sessionId)
      const what = `the container is not as the template says, so it was not started: ${wrong}`
      const message = what.slice(0, 1000)
      return { type: 'failed', container: false, exit: { code: null, reason: 'engine_error', message } }
    }
    try {
      await within(this.#parts.docker, engine => engine.getContainer(before.Id).start())
    } catch (error) {
      return refused('start', error, true)
    }
    const after = await this.#inspect(sessionId)
    return after === null ? gone() : this.#outcome(sessionId, after)
  }

  async signal(sessionId: string, signal: 'SIGTERM' | 'SIGKILL'): Promise<Signalled | NotRunning> {
    const made = await this.#inspect(sessionId)
    if (made === null) return { type: 'not_running', container: false }
    if (foundOf(made, sessionId, this.#parts.clock).state === 'created') {
      // A start whose answer was lost may still be queued in the Engine: only without a container can it do no harm.
      await this.remove(sessionId)
      return { type: 'not_running', container: false }
    }
    try {
      await within(this.#parts.docker, engine => engine.getContainer(made.Id).kill({ signal }))
    } catch (error) {
      // 409: it ended by itself in between; its end is observed like any other.
      const status = engineRefusal(error)?.status
      if (status !== 409 && status !== 404) throw error
    }
    return { type: 'signalled' }
  }

  async wait(sessionId: string, signal: AbortSignal): Promise<Ended> {
    const { docker, clock } = this.#parts
    const name = containerName(sessionId)
    await untilStopped(docker, name, signal)
    const made = await within(docker, engine => engine.getContainer(name).inspect(), { signal })
    // The Engine's answer also ends when the Engine does; its container goes on.
    const { state } = foundOf(made, sessionId, clock)
    if (state !== 'exited') throw new Error(`the wait ended and the container is ${state}`)
    return { type: 'exited', ...exitFacts(stateOf(made), clock) }
  }

  async remove(sessionId: string): Promise<void> {
    const made = await this.#inspect(sessionId)
    if (made === null) return
    try {
      // `v`: volumes that the image declares would otherwise stay for ever.
      const options = { v: true, force: true }
      await within(this.#parts.docker, engine => engine.getContainer(made.Id).remove(options))
    } catch (error) {
      const status = engineRefusal(error)?.status
      if (status === 404) return
      // 409: another removal is under way; the next look finds it gone.
      throw error
    }
  }

  /** @returns the session's own container, or null; a foreign one that took its name counts as none */
  async #inspect(sessionId: string): Promise<Docker.ContainerInspectInfo | null> {
    try {
      const name = containerName(sessionId)
      const made = await within(this.#parts.docker, engine => engine.getContainer(name).inspect())
      const own = { names: [made.Name], labels: made.Config.Labels }
      return sessionOf(own, this.#parts.installationId) === sessionId ? made : null
    } catch (error) {
      if (isNotFound(error)) return null
      throw error
    }
  }

  #outcome(sessionId: string, made: Docker.ContainerInspectInfo): Running | Ended {
    const { clock } = this.#parts
    const state = stateOf(made)
    const found = foundOf(made, sessionId, clock)
    return found.state === 'running'
      ? { type: 'running', ...runningFacts(state, clock) }
      : { type: 'exited', ...exitFacts(state, clock) }
  }

  async #deviations(sessionId: string, job: Job, made: Docker.ContainerInspectInfo): Promise<string | null> {
    const image = await this.#parts.images.inspect(made.Image)
    if (image === null) return `its image ${made.Image} is gone`
    const found = deviations(this.#template(sessionId, job, image), made)
    return found.length === 0 ? null : found.join('; ')
  }

  #template(sessionId: string, job: Job, image: ImageFacts): Docker.ContainerCreateOptions {
    const { config, host, policy, installationId, runnerId, runIdOf, hostSessionsPath } = this.#parts
    const uid = process.getuid?.() ?? 0
    return containerOptions({
      job,
      image,
      host,
      policy,
      identity: { installationId, runnerId: runnerId(), sessionId, runId: runIdOf(sessionId) },
      settings: {
        logCapMb: config.RUNNER_LOG_CAP_MB,
        jobHttpsProxy: config.RUNNER_JOB_HTTPS_PROXY,
        jobNoProxy: config.RUNNER_JOB_NO_PROXY,
        hasCa: config.RUNNER_JOB_CA_FILE !== null,
        ownUser: uid === 0 ? null : { uid, gid: process.getgid?.() ?? uid },
      },
      sessionFolder: join(hostSessionsPath, sessionId),
    })
  }
}

/** What the Engine refuses it would refuse again. @throws the error when the Engine was not reached */
function refused(step: 'create' | 'start', error: unknown, container: boolean): Failed {
  const refusal = engineRefusal(error)
  if (refusal === null) throw error
  return { type: 'failed', container, exit: classifyFailure(step, refusal.message) }
}

function gone(): Failed {
  const message = 'the container was gone when it was to be started'
  return { type: 'failed', container: false, exit: { code: null, reason: 'engine_error', message } }
}
