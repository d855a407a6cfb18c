import { createHash } from 'node:crypto'
import type { RunnerIdentity } from '../api/client.ts'
import type { Config } from '../config.ts'
import type { StateDirectory, StoredCredential } from '../state/state-directory.ts'

/** Who this runner is to the control plane; the credential in it changes when it is rotated. */
export class Membership {
  readonly #state: Pick<StateDirectory, 'storeCredential'>
  #stored: StoredCredential

  constructor(state: Pick<StateDirectory, 'storeCredential'>, stored: StoredCredential) {
    this.#state = state
    this.#stored = stored
  }

  get identity(): RunnerIdentity {
    const { pool_id, runner_id, credential } = this.#stored
    return { poolId: pool_id, runnerId: runner_id, credential }
  }

  get obtainedAtMs(): number {
    return this.#stored.obtained_at_ms
  }

  /** On disk before it is used: the first use of the new credential ends the old one. */
  async renew(credential: string, obtainedAtMs: number): Promise<void> {
    const renewed = { ...this.#stored, credential, obtained_at_ms: obtainedAtMs }
    await this.#state.storeCredential(renewed)
    this.#stored = renewed
  }
}

/**
 * A host's name is another in every container, so a runner that was given no name keeps the one it has registered
 * with: its containers are known by it.
 */
export function nameFor(
  config: Pick<Config, 'RUNNER_NAME' | 'RUNNER_NAME_IS_DEFAULT' | 'RUNNER_POOL_ID'>,
  stored: StoredCredential | null,
  engineId: string,
): string {
  const isSame = stored?.pool_id === config.RUNNER_POOL_ID && stored.engine_id === engineId
  return config.RUNNER_NAME_IS_DEFAULT && isSame ? stored.name : config.RUNNER_NAME
}

/** @returns in what a runner of these settings is another than the one that the stored credential was given for */
export function changesSince(
  stored: StoredCredential,
  config: Pick<Config, 'CONTROL_PLANE_URL' | 'RUNNER_POOL_ID'>,
  name: string,
  engineId: string,
): { readonly what: string; readonly before: string; readonly now: string }[] {
  return [
    { what: 'CONTROL_PLANE_URL', before: stored.control_plane, now: config.CONTROL_PLANE_URL.href },
    { what: 'RUNNER_POOL_ID', before: stored.pool_id, now: config.RUNNER_POOL_ID },
    { what: 'RUNNER_NAME', before: stored.name, now: name },
    { what: 'the Docker Engine', before: stored.engine_id, now: engineId },
  ].filter(({ before, now }) => before !== now)
}

/**
 * Marks the containers that are this runner's to adopt and to remove. It is derived, not stored, so that they are
 * still its own after the state directory was lost.
 */
export function installationId(poolId: string, runnerName: string, engineId: string): string {
  const hash = createHash('sha256').update(JSON.stringify([poolId, runnerName, engineId]))
  return hash.digest('hex').slice(0, 32)
}
