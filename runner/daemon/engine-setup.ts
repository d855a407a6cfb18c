import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { Engine } from '../../protocol/runner-api.ts'
import { backoffMs } from '../api/backoff.ts'
import { type Clock, sleep } from '../clock.ts'
import type { Config } from '../config.ts'
import { DockerExecutor } from '../executors/docker/docker-executor.ts'
import { type HostFacts, openEngine, readHostFacts } from '../executors/docker/engine.ts'
import { Images } from '../executors/docker/images.ts'
import { hostPathOf, ownContainerId } from '../executors/docker/own-container.ts'
import { renewedRegistryAuth } from '../executors/docker/registry-auth.ts'
import type { Executor } from '../executors/executor.ts'
import { HostExecutor } from '../executors/host/host-executor.ts'
import { type Log, reasonOf } from '../log.ts'
import type { Policy } from '../policy.ts'
import { SettingsError } from '../settings-error.ts'
import type { StateDirectory, StoredCredential } from '../state/state-directory.ts'
import { installationId, nameFor } from './runner-identity.ts'

const RETRY_CAP_MS = 10_000

export interface ExecutorSetup {
  /** Of the Engine, or of this host where there is none: the credential is good here only. */
  readonly engineId: string
  readonly engine: Engine | null
  readonly runnerName: string
  /** What this runner's containers are known by. */
  readonly installationId: string
  readonly build: (late: LateFacts) => Executor
}

/** What is known only after registration and once the ledger stands. */
export interface LateFacts {
  /** Those that this runner has succeeded in its state directory. */
  readonly formerInstallations: readonly string[]
  readonly runnerId: () => string
  readonly runIdOf: (sessionId: string) => string
}

interface SetupParts {
  readonly config: Config
  readonly policy: Policy
  readonly state: StateDirectory
  readonly clock: Clock
  readonly log: Log
  readonly stored: StoredCredential | null
  readonly ownCommand: readonly [string, ...string[]]
  readonly onTrouble: (reason: string) => void
}

/** Waits for the Engine where one is needed: without its id nothing here is known to be ours. @returns null on abort */
export async function setUpExecutor(parts: SetupParts, signal: AbortSignal): Promise<ExecutorSetup | null> {
  const { config, policy, state, clock, log, stored, ownCommand } = parts
  if (config.RUNNER_EXECUTOR === 'host') {
    log.warn('RUNNER_EXECUTOR is host: jobs run as plain processes of this user, without isolation or limits')
    const build = ({ runIdOf }: LateFacts) =>
      new HostExecutor({ state, policy, config, clock, ownCommand, runIdOf })
    const engineId = hostId()
    const runnerName = nameFor(config, stored, engineId)
    const installation = installationId(config.RUNNER_POOL_ID, runnerName, engineId)
    return { engineId, engine: null, runnerName, installationId: installation, build }
  }
  const auth = renewedRegistryAuth(config.RUNNER_REGISTRY_AUTH_FILE, log)
  const docker = openEngine(config.DOCKER_HOST)
  const ask = async () => {
    const host = await readHostFacts(docker, signal)
    return { host, statePath: await hostPathOf(docker, config.RUNNER_STATE_DIR, ownContainerId(), signal) }
  }
  const found = await waitForEngine(parts, ask, signal)
  if (found === null) return null
  const { host, statePath } = found
  const runnerName = nameFor(config, stored, host.engineId)
  const installation = installationId(config.RUNNER_POOL_ID, runnerName, host.engineId)
  const build = (late: LateFacts) =>
    new DockerExecutor({
      docker,
      images: new Images(docker, config.RUNNER_PULL_POLICY, auth),
      host,
      policy,
      config,
      state,
      hostSessionsPath: join(statePath, 'sessions'),
      installationId: installation,
      clock,
      ...late,
    })
  const engine = { id: host.engineId, version: host.engineVersion }
  return { engineId: host.engineId, engine, runnerName, installationId: installation, build }
}

async function waitForEngine<T extends { readonly host: HostFacts }>(
  { config, log, onTrouble }: SetupParts,
  ask: () => Promise<T>,
  signal: AbortSignal,
): Promise<T | null> {
  for (let failures = 1; !signal.aborted; failures++) {
    try {
      const found = await ask()
      const { engineId, engineVersion } = found.host
      log.info({ engine_id: engineId, engine_version: engineVersion }, 'found the Docker Engine')
      return found
    } catch (error) {
      if (error instanceof SettingsError) throw error
      if (signal.aborted) return null
      const reason = `no Docker Engine at ${config.DOCKER_HOST}`
      const remedy =
        'check that Docker runs, that its socket is mounted (-v /var/run/docker.sock:/var/run/docker.sock) and that this user may open it'
      log.error({ error: reasonOf(error), remedy }, `${reason}; trying again`)
      onTrouble(reason)
      await sleep(backoffMs(failures, 500, Math.random, RETRY_CAP_MS), signal)
    }
  }
  return null
}

/** Stands for an Engine's id where there is none. */
export function hostId(): string {
  let machine = hostname()
  try {
    machine = readFileSync('/etc/machine-id', 'utf8').trim() || machine
  } catch {
    // Not every system has one; the name has to do.
  }
  return `host-${createHash('sha256').update(machine).digest('hex').slice(0, 32)}`
}
