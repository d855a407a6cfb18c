import { arch, cpus, platform, totalmem } from 'node:os'
import type { Platform, RegisterRequest } from '../../protocol/runner-api.ts'
import { RUNNER_PROTOCOL, VERSION } from '../../protocol/version.ts'
import { ApiClient } from '../api/client.ts'
import type { Clock } from '../clock.ts'
import { type Config, readRegistrationToken } from '../config.ts'
import type { Log } from '../log.ts'
import type { Policy } from '../policy.ts'
import type { StateDirectory, StoredCredential } from '../state/state-directory.ts'
import { type ExecutorSetup, setUpExecutor } from './engine-setup.ts'
import { HealthState, healthLoop } from './health.ts'
import { runMember, slotsOf } from './member.ts'
import { register, tokenHash } from './registration.ts'
import { Membership } from './runner-identity.ts'
import type { StopSignals } from './shutdown.ts'

export interface DaemonParts {
  readonly config: Config
  readonly policy: Policy
  readonly state: StateDirectory
  readonly clock: Clock
  readonly log: Log
  readonly signals: StopSignals
  /** The program and arguments that start this program again. */
  readonly ownCommand: readonly [string, ...string[]]
}

/** The daemon's whole life: find the Engine, join the pool, run the loops, leave. */
export async function runDaemon(parts: DaemonParts): Promise<void> {
  const { config, state, clock, log, signals } = parts
  const health = new HealthState()
  const stopBeating = new AbortController()
  const beating = healthLoop(state.healthPath, health, clock, log, stopBeating.signal)
  const api = new ApiClient(config)
  try {
    const onTrouble = (reason: string) => health.set(reason)
    const setup = await setUpExecutor({ ...parts, onTrouble }, signals.leave)
    if (setup !== null) await joinAndRun(parts, setup, api, health)
  } finally {
    await api.close()
    stopBeating.abort()
    await beating
  }
}

/** A credential that the control plane refuses is replaced only if the operator has given another token since. */
async function joinAndRun(
  parts: DaemonParts,
  setup: ExecutorSetup,
  api: ApiClient,
  health: HealthState,
): Promise<void> {
  const { config, state, signals, log } = parts
  const engine = setup.engine === null ? {} : { engine: setup.engine }
  const about = { version: VERSION, platform: platformFacts(), ...engine }
  const facts = { boot: await state.nextBoot(), bootId: await state.bootId(), about }
  const request: Omit<RegisterRequest, 'registration_token'> = {
    protocol: RUNNER_PROTOCOL,
    pool_id: config.RUNNER_POOL_ID,
    name: config.RUNNER_NAME,
    boot: facts.boot,
    boot_id: facts.bootId,
    max_concurrency: slotsOf(parts),
    labels: { ...config.RUNNER_LABELS },
    ...about,
  }
  const onTrouble = (reason: string) => health.set(reason)
  const registration = { api, config, state, log, engineId: setup.engineId, request, onTrouble }
  let stored = usableCredential(state.credential(), config, setup.engineId, log)
  while (!signals.leave.aborted) {
    stored ??= await register(registration, signals.leave)
    if (stored === null) return
    const current = stored
    const mayJoinAgain = () => hasNewToken(config, current)
    const membership = new Membership(state, current)
    const joinAgain = await runMember({ ...parts, setup, api, health, membership, facts, mayJoinAgain })
    if (!joinAgain) return
    log.warn('the stored credential is refused and another registration token is set: registering anew')
    stored = null
  }
}

/** Another pool, another control plane, another name or another Engine: it is another runner. */
function usableCredential(
  stored: StoredCredential | null,
  config: Config,
  engineId: string,
  log: Log,
): StoredCredential | null {
  if (stored === null) return null
  const differs = [
    stored.control_plane !== config.CONTROL_PLANE_URL.href && 'CONTROL_PLANE_URL',
    stored.pool_id !== config.RUNNER_POOL_ID && 'RUNNER_POOL_ID',
    stored.name !== config.RUNNER_NAME && 'RUNNER_NAME',
    stored.engine_id !== engineId && 'the Docker Engine',
  ].filter(Boolean)
  if (differs.length === 0) return stored
  log.warn({ differs }, 'the stored credential was given for something else, so it is not used; registering')
  return null
}

function hasNewToken(config: Config, stored: StoredCredential): boolean {
  const token = readRegistrationToken(config)
  return token !== null && tokenHash(token) !== stored.token_hash
}

function platformFacts(): Platform {
  return {
    os: platform(),
    arch: arch(),
    cpus: Math.max(1, cpus().length),
    memory_mb: Math.floor(totalmem() / 1024 / 1024),
  }
}
