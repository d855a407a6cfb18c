import { isSameLine, VERSION } from '../../protocol/version.ts'
import type { Log } from '../log.ts'

/** More images than a host ever has of ours; whoever names more of them does not fill this process's memory. */
const REMEMBERED_IMAGES = 1000

/** Runner and agent are published together, and only those of one release line are tried out with each other. */
export class ReleaseWatch {
  readonly #log: Pick<Log, 'warn'>
  readonly #said = new Set<string>()

  constructor(log: Pick<Log, 'warn'>) {
    this.#log = log
  }

  /** Says once of each image that it is of another line. */
  note(image: string, agentVersion: string): void {
    if (isSameLine(agentVersion, VERSION) || this.#said.has(image)) return
    if (this.#said.size === REMEMBERED_IMAGES) this.#said.clear()
    this.#said.add(image)
    const remedy =
      'use runner and agent images of one release: set Docker__DefaultImage, the environment or the run'
    this.#log.warn(
      { image, agent_version: agentVersion, runner_version: VERSION, remedy },
      'the agent image is of another release line than this runner',
    )
  }
}
