import type Docker from 'dockerode'
import type { Clock } from '../../clock.ts'
import type { ExitFacts, Found } from '../../session-types.ts'
import { exitFacts, foundInRow, foundOf, sessionOf, stateOf } from './containers.ts'
import { withItsCause } from './deaths.ts'
import { EngineTimeout, engineRefusal, isNotFound, within } from './engine.ts'
import { containerName, LABELS } from './template.ts'

/** A listing has its rows to fall back on, so one container that cannot be inspected holds it up no longer than this. */
const ROW_INSPECT_TIMEOUT_MS = 10_000

interface SessionContainersParts {
  readonly docker: Docker
  readonly installationId: string
  /** Those that this one has succeeded: their containers are to be ended and removed. */
  readonly formerInstallations: readonly string[]
  readonly clock: Clock
}

/** The containers that are this runner's to see, to signal and to remove. Everybody else's count as not there. */
export class SessionContainers {
  readonly #parts: SessionContainersParts

  constructor(parts: SessionContainersParts) {
    this.#parts = parts
  }

  async list(abort?: AbortSignal): Promise<Found[]> {
    const { installationId, formerInstallations } = this.#parts
    const former = formerInstallations.map(async one => {
      const found = await this.#listOf(one, abort)
      return found.map(each => ({ ...each, isFormer: true }))
    })
    return (await Promise.all([this.#listOf(installationId, abort), ...former])).flat()
  }

  async #listOf(installationId: string, abort?: AbortSignal): Promise<Found[]> {
    const filters = { label: [`${LABELS.installation}=${installationId}`] }
    const limits = { signal: abort }
    const all = (engine: Docker) => engine.listContainers({ all: true, filters })
    const listed = await within(this.#parts.docker, all, limits)
    const found = await Promise.all(
      listed.map(async row => {
        const sessionId = sessionOf({ names: row.Names, labels: row.Labels }, installationId)
        return sessionId === null ? null : this.#look(row, sessionId, abort)
      }),
    )
    return found.filter(one => one !== null)
  }

  /** @returns null when it was removed since it was listed */
  async #look(row: Docker.ContainerInfo, sessionId: string, abort?: AbortSignal): Promise<Found | null> {
    const { docker, clock } = this.#parts
    const limits = { signal: abort, timeoutMs: ROW_INSPECT_TIMEOUT_MS }
    try {
      const made = await within(docker, engine => engine.getContainer(row.Id).inspect(), limits)
      const found = foundOf(made, sessionId, clock)
      return found.state === 'exited' ? { ...found, ...(await this.ended(made, abort)) } : found
    } catch (error) {
      if (isNotFound(error)) return null
      if (error instanceof EngineTimeout || engineRefusal(error) !== null)
        return foundInRow(row, sessionId, clock)
      throw error
    }
  }

  /** Of a container that has ended. */
  ended(made: Docker.ContainerInspectInfo, abort?: AbortSignal): Promise<ExitFacts> {
    const { docker, clock } = this.#parts
    return withItsCause(docker, made.Id, exitFacts(stateOf(made), clock), clock, abort)
  }

  /** @returns the session's own container, or null; a foreign one that took its name counts as none */
  async inspect(sessionId: string, abort?: AbortSignal): Promise<Docker.ContainerInspectInfo | null> {
    const made = await this.holder(sessionId, abort)
    if (made === null) return null
    const own = { names: [made.Name], labels: made.Config.Labels }
    const { installationId, formerInstallations } = this.#parts
    const isOurs = [installationId, ...formerInstallations].some(one => sessionOf(own, one) === sessionId)
    return isOurs ? made : null
  }

  /** @returns the container that has the session's name, whoever made it */
  async holder(sessionId: string, abort?: AbortSignal): Promise<Docker.ContainerInspectInfo | null> {
    try {
      const name = containerName(sessionId)
      const limits = { signal: abort }
      return await within(this.#parts.docker, engine => engine.getContainer(name).inspect(), limits)
    } catch (error) {
      if (isNotFound(error)) return null
      throw error
    }
  }

  /** One that has ended by itself is no error: its end is observed like any other. */
  async kill(
    { Id }: Docker.ContainerInspectInfo,
    signal: 'SIGTERM' | 'SIGKILL',
    abort?: AbortSignal,
  ): Promise<void> {
    try {
      const limits = { signal: abort }
      await within(this.#parts.docker, engine => engine.getContainer(Id).kill({ signal }), limits)
    } catch (error) {
      const status = engineRefusal(error)?.status
      if (status !== 409 && status !== 404) throw error
    }
  }

  /** By the session's name, so that nothing is removed that was not looked at first. */
  async remove(sessionId: string, abort?: AbortSignal): Promise<void> {
    const made = await this.inspect(sessionId, abort)
    if (made === null) return
    try {
      // `v`: volumes that the image declares would otherwise stay for ever.
      const options = { v: true, force: true }
      const limits = { signal: abort }
      await within(this.#parts.docker, engine => engine.getContainer(made.Id).remove(options), limits)
    } catch (error) {
      const status = engineRefusal(error)?.status
      if (status === 404) return
      // 409: another removal is under way; the next look finds it gone.
      throw error
    }
  }
}
