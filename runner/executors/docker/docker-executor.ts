import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import type Docker from 'dockerode'
import type { Job } from '../../../protocol/runner-api.ts'
import type { Clock } from '../../clock.ts'
import type { Config } from '../../config.ts'
import type { Found } from '../../daemon/ledger-types.ts'
import { type Policy, refusalOf } from '../../policy.ts'
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
import { exitFacts, foundOf, runningFacts, sessionOf, stateOf } from './containers.ts'
import { engineRefusal, type HostFacts, isNotFound, untilStopped, within } from './engine.ts'
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

/** One container per session, found again by its labels and its name, whatever happened to this process. */
export class DockerExecutor implements Executor {
  readonly name = 'docker'
  readonly #parts: DockerExecutorParts

  constructor(parts: DockerExecutorParts) {
    this.#parts = parts
  }

  async ready(): Promise<void> {
    await ensureNetwork(this.#parts.docker, this.#parts.policy.network)
  }

  async list(): Promise<Found[]> {
    const { docker, installationId, clock } = this.#parts
    const filters = { label: [`${LABELS.installation}=${installationId}`] }
    const listed = await within(docker.listContainers({ all: true, filters }))
    const found: Found[] = []
    for (const { Id, Names, Labels } of listed) {
      const sessionId = sessionOf({ names: Names, labels: Labels }, installationId)
      if (sessionId === null) continue
      try {
        found.push(foundOf(await within(docker.getContainer(Id).inspect()), sessionId, clock))
      } catch (error) {
        // Removed since it was listed.
        if (!isNotFound(error)) throw error
      }
    }
    return found
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
    const image = await this.#parts.images.obtain(job.image, hooks)
    if ('exit' in image) return { type: 'failed', container: false, exit: image.exit }
    return { type: 'prepared', image_digest: image.digest }
  }

  async create(sessionId: string, job: Job): Promise<{ type: 'created' } | Failed> {
    const { docker, state, config, images } = this.#parts
    const image = await images.inspect(job.image)
    if (image === null) {
      return {
        type: 'failed',
        container: false,
        exit: classifyFailure('create', `no such image: ${job.image}`),
      }
    }
    try {
      const folder = await state.createSessionFolder(sessionId)
      if (config.RUNNER_JOB_CA_FILE !== null)
        await copyFile(config.RUNNER_JOB_CA_FILE, join(folder, 'ca.pem'))
    } catch (error) {
      const message = `the session folder cannot be made: ${error instanceof Error ? error.message : 'unknown'}`
      return { type: 'failed', container: false, exit: classifyFailure('create', message) }
    }
    try {
      await within(docker.createContainer(this.#template(sessionId, job, image)))
      return { type: 'created' }
    } catch (error) {
      const refusal = engineRefusal(error)
      if (refusal === null) throw error
      if (refusal.status === 409 && (await this.#inspect(sessionId)) !== null) return { type: 'created' }
      return { type: 'failed', container: false, exit: classifyFailure('create', refusal.message) }
    }
  }

  async start(sessionId: string, job: Job): Promise<Running | Ended | Failed> {
    const before = await this.#inspect(sessionId)
    if (before === null) return gone()
    const found = foundOf(before, sessionId, this.#parts.clock)
    if (found.state !== 'created') return this.#outcome(sessionId, before)
    const wrong = await this.#deviations(sessionId, job, before)
    if (wrong !== null) {
      await this.remove(sessionId)
      const message = `the container is not as the template says, so it was not started: ${wrong}`
      return { type: 'failed', container: false, exit: { code: null, reason: 'engine_error', message } }
    }
    try {
      await within(this.#parts.docker.getContainer(before.Id).start())
    } catch (error) {
      const refusal = engineRefusal(error)
      if (refusal === null) throw error
      return { type: 'failed', container: true, exit: classifyFailure('start', refusal.message) }
    }
    const after = await this.#inspect(sessionId)
    return after === null ? gone() : this.#outcome(sessionId, after)
  }

  async signal(sessionId: string, signal: 'SIGTERM' | 'SIGKILL'): Promise<Signalled | NotRunning> {
    const made = await this.#inspect(sessionId)
    if (made === null) return { type: 'not_running', container: false }
    if (foundOf(made, sessionId, this.#parts.clock).state === 'created') {
      return { type: 'not_running', container: true }
    }
    try {
      await within(this.#parts.docker.getContainer(made.Id).kill({ signal }))
    } catch (error) {
      // 409: it ended by itself in between; its end is observed like any other.
      const status = engineRefusal(error)?.status
      if (status !== 409 && status !== 404) throw error
    }
    return { type: 'signalled' }
  }

  async wait(sessionId: string, signal: AbortSignal): Promise<Ended> {
    const container = this.#parts.docker.getContainer(containerName(sessionId))
    await untilStopped(this.#parts.docker, containerName(sessionId), signal)
    const made = await within(container.inspect())
    return { type: 'exited', ...exitFacts(stateOf(made), this.#parts.clock) }
  }

  async remove(sessionId: string): Promise<void> {
    const made = await this.#inspect(sessionId)
    if (made === null) return
    try {
      // `v`: volumes that the image declares would otherwise stay for ever.
      await within(this.#parts.docker.getContainer(made.Id).remove({ v: true, force: true }))
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
      const made = await within(this.#parts.docker.getContainer(containerName(sessionId)).inspect())
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

function gone(): Failed {
  const message = 'the container was gone when it was to be started'
  return { type: 'failed', container: false, exit: { code: null, reason: 'engine_error', message } }
}
