import { chmod, copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import type Docker from 'dockerode'
import type { Job } from '../../../protocol/runner-api.ts'
import type { Clock } from '../../clock.ts'
import type { Config } from '../../config.ts'
import { type Policy, refusalOf } from '../../policy.ts'
import type { Found } from '../../session-types.ts'
import { SettingsError } from '../../settings-error.ts'
import type { StateDirectory } from '../../state/state-directory.ts'
import type {
  Created,
  Ended,
  Executor,
  Failed,
  NotRunning,
  Prepared,
  PrepareHooks,
  Running,
  Signalled,
} from '../executor.ts'
import { agentReleaseOf } from './agent-release.ts'
import { classifyFailure } from './classify-failure.ts'
import { containerOutput } from './container-output.ts'
import { foundOf, runningFacts, stateOf } from './containers.ts'
import { engineRefusal, type HostFacts, untilStopped, within } from './engine.ts'
import type { ImageFacts, Images } from './images.ts'
import { ensureNetwork } from './network.ts'
import { SessionContainers } from './session-containers.ts'
import { containerName, containerOptions, type TemplateInput } from './template.ts'
import { deviations } from './verify.ts'

interface DockerExecutorParts {
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
  readonly formerInstallations: readonly string[]
  /** Known after registration, which comes before the first session. */
  readonly runnerId: () => string
  readonly runIdOf: (sessionId: string) => string
  readonly clock: Clock
}

/** As the Engine says of an image that its create names. */
const NO_IMAGE = /no such image/i

/** One container per session, found again by its labels and its name, whatever happened to this process. */
export class DockerExecutor implements Executor {
  readonly name = 'docker'
  readonly #parts: DockerExecutorParts
  readonly #containers: SessionContainers

  constructor(parts: DockerExecutorParts) {
    this.#parts = parts
    this.#containers = new SessionContainers(parts)
  }

  async ready(abort?: AbortSignal): Promise<void> {
    await ensureNetwork(this.#parts.docker, this.#parts.policy.network, abort)
  }

  list(abort?: AbortSignal): Promise<Found[]> {
    return this.#containers.list(abort)
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
      const agent_version = agentReleaseOf(job.image, image.labels)
      return { type: 'prepared', image_digest: image.digest, agent_version }
    } catch (error) {
      return refused('create', error, false)
    }
  }

  async create(sessionId: string, job: Job, abort?: AbortSignal): Promise<Created | Failed> {
    const { docker, images } = this.#parts
    try {
      const image = await images.inspect(job.image, abort)
      if (image === null) return await this.#withoutImage(sessionId, abort)
      const unready = (await this.#makeFolder(sessionId)) ?? (await this.#restoreNetwork(abort))
      if (unready !== null) return unready
      const options = this.#template(sessionId, job, image)
      await within(docker, engine => engine.createContainer(options), { signal: abort })
      return { type: 'created' }
    } catch (error) {
      const refusal = engineRefusal(error)
      if (refusal?.status === 404 && NO_IMAGE.test(refusal.message))
        return this.#withoutImage(sessionId, abort)
      return refusal?.status === 409
        ? this.#nameTaken(sessionId, error, abort)
        : refused('create', error, false)
    }
  }

  /**
   * A create that was given up as late goes on in the Engine, which keeps the name for it before there is a container.
   * @throws the error then: a repeat finds what came of it
   */
  async #nameTaken(sessionId: string, error: unknown, abort?: AbortSignal): Promise<Created | Failed> {
    if ((await this.#containers.inspect(sessionId, abort)) !== null) return { type: 'created' }
    if ((await this.#containers.holder(sessionId, abort)) === null) throw error
    return refused('create', error, false)
  }

  /** A create whose answer was lost may have had the image. */
  async #withoutImage(sessionId: string, abort?: AbortSignal): Promise<Created> {
    const made = await this.#containers.inspect(sessionId, abort)
    return { type: made === null ? 'image_gone' : 'created' }
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
  async #restoreNetwork(abort?: AbortSignal): Promise<Failed | null> {
    try {
      await ensureNetwork(this.#parts.docker, this.#parts.policy.network, abort)
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

  async start(sessionId: string, job: Job, abort?: AbortSignal): Promise<Running | Ended | Failed> {
    const before = await this.#containers.inspect(sessionId, abort)
    if (before === null) return gone()
    const found = foundOf(before, sessionId, this.#parts.clock)
    if (found.state !== 'created') return this.#outcome(sessionId, before, abort)
    let wrong: string | null
    try {
      wrong = await this.#deviations(sessionId, job, before, abort)
    } catch (error) {
      return refused('create', error, true)
    }
    if (wrong !== null) {
      await this.#containers.remove(sessionId, abort)
      return unstarted(wrong)
    }
    try {
      // By its id: carried out late, it cannot start anything else.
      const limits = { signal: abort }
      await within(this.#parts.docker, engine => engine.getContainer(before.Id).start(), limits)
    } catch (error) {
      // 304: a start whose answer was lost has been carried out since, so the container is to be looked at as it is.
      if (engineRefusal(error)?.status !== 304) return refused('start', error, true)
    }
    const after = await this.#containers.inspect(sessionId, abort)
    return after === null ? gone() : this.#outcome(sessionId, after, abort)
  }

  async signal(
    sessionId: string,
    signal: 'SIGTERM' | 'SIGKILL',
    abort?: AbortSignal,
  ): Promise<Signalled | NotRunning> {
    const made = await this.#containers.inspect(sessionId, abort)
    if (made === null) return { type: 'not_running', container: false }
    if (foundOf(made, sessionId, this.#parts.clock).state === 'created') {
      // A start that was given up may still be queued in the Engine: only without a container can it do no harm.
      await this.#containers.remove(sessionId, abort)
      return { type: 'not_running', container: false }
    }
    await this.#containers.kill(made, signal, abort)
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
    return { type: 'exited', ...(await this.#containers.ended(made, signal)) }
  }

  async *output(sessionId: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const made = await this.#containers.inspect(sessionId, signal)
    if (made === null || foundOf(made, sessionId, this.#parts.clock).state === 'created') return
    yield* containerOutput(this.#parts.docker, made.Id, signal)
  }

  remove(sessionId: string, abort?: AbortSignal): Promise<void> {
    return this.#containers.remove(sessionId, abort)
  }

  async #outcome(
    sessionId: string,
    made: Docker.ContainerInspectInfo,
    abort?: AbortSignal,
  ): Promise<Running | Ended> {
    const { clock } = this.#parts
    return foundOf(made, sessionId, clock).state === 'running'
      ? { type: 'running', ...runningFacts(stateOf(made), clock) }
      : { type: 'exited', ...(await this.#containers.ended(made, abort)) }
  }

  async #deviations(
    sessionId: string,
    job: Job,
    made: Docker.ContainerInspectInfo,
    abort?: AbortSignal,
  ): Promise<string | null> {
    const image = await this.#parts.images.inspect(made.Image, abort)
    if (image === null) return `its image was removed from this host before it was started: ${made.Image}`
    const found = deviations(this.#template(sessionId, job, image), made)
    return found.length === 0 ? null : `the container is not as the template says: ${found.join('; ')}`
  }

  #template(sessionId: string, job: Job, image: ImageFacts): Docker.ContainerCreateOptions {
    const { config, host, policy, installationId, runnerId, runIdOf, hostSessionsPath } = this.#parts
    return containerOptions({
      job,
      image,
      host,
      policy,
      identity: { installationId, runnerId: runnerId(), sessionId, runId: runIdOf(sessionId) },
      settings: templateSettings(config),
      sessionFolder: join(hostSessionsPath, sessionId),
    })
  }
}

/** What the template takes of this runner's settings, and of this process. */
export function templateSettings(config: DockerExecutorParts['config']): TemplateInput['settings'] {
  const uid = process.getuid?.() ?? 0
  return {
    logCapMb: config.RUNNER_LOG_CAP_MB,
    jobHttpsProxy: config.RUNNER_JOB_HTTPS_PROXY,
    jobNoProxy: config.RUNNER_JOB_NO_PROXY,
    hasCa: config.RUNNER_JOB_CA_FILE !== null,
    ownUser: uid === 0 ? null : { uid, gid: process.getgid?.() ?? uid },
  }
}

/** What the Engine refuses it would refuse again. @throws the error when the Engine was not reached */
function refused(step: 'create' | 'start', error: unknown, container: boolean): Failed {
  const refusal = engineRefusal(error)
  if (refusal === null) throw error
  return { type: 'failed', container, exit: classifyFailure(step, refusal.message) }
}

function gone(): Failed {
  return unstarted('the container was gone when it was to be started')
}

/** The Engine's or its keeper's doing: another runner may do better. */
function unstarted(message: string): Failed {
  const exit = { code: null, reason: 'engine_error', message: message.slice(0, 1000) } as const
  return { type: 'failed', container: false, exit }
}
