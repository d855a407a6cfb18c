import type Docker from 'dockerode'
import { SettingsError } from '../../settings-error.ts'
import { engineRefusal, isNotFound, within } from './engine.ts'
import { NETWORK } from './template.ts'

const NO_ICC = { 'com.docker.network.bridge.enable_icc': 'false' }

/**
 * Jobs share one bridge on which they cannot reach each other.
 * @throws SettingsError when a network of that name allows it
 */
export async function ensureNetwork(
  docker: Docker,
  policyNetwork: string | undefined,
  signal?: AbortSignal,
): Promise<void> {
  if (policyNetwork !== undefined) {
    await requireNetwork(docker, policyNetwork, signal)
    return
  }
  const made = (await inspectNetwork(docker, signal)) ?? (await createNetwork(docker, signal))
  if (made?.Options?.['com.docker.network.bridge.enable_icc'] !== 'false') {
    throw new SettingsError(
      `the Docker network ${NETWORK} lets containers reach each other; remove it (docker network rm ${NETWORK}) and start again`,
    )
  }
}

async function inspectNetwork(
  docker: Docker,
  signal?: AbortSignal,
): Promise<Docker.NetworkInspectInfo | null> {
  try {
    return await within(docker, engine => engine.getNetwork(NETWORK).inspect(), { signal })
  } catch (error) {
    if (isNotFound(error)) return null
    throw error
  }
}

async function createNetwork(
  docker: Docker,
  signal?: AbortSignal,
): Promise<Docker.NetworkInspectInfo | null> {
  try {
    const options = { Name: NETWORK, Driver: 'bridge', Options: NO_ICC, CheckDuplicate: true }
    await within(docker, engine => engine.createNetwork(options), { signal })
  } catch (error) {
    // 409: another runner on this Engine was quicker.
    if (engineRefusal(error)?.status !== 409) throw error
  }
  return inspectNetwork(docker, signal)
}

async function requireNetwork(docker: Docker, name: string, signal?: AbortSignal): Promise<void> {
  if (name === 'none' || name === 'bridge') return
  try {
    await within(docker, engine => engine.getNetwork(name).inspect(), { signal })
  } catch (error) {
    if (!isNotFound(error)) throw error
    throw new SettingsError(`RUNNER_POLICY_FILE: network: there is no Docker network named ${name}`)
  }
}
