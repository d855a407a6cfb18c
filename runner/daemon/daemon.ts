import { randomBytes } from 'node:crypto'
import { arch, cpus, platform, totalmem } from 'node:os'
import type { Platform, RegisterRequest } from '../../protocol/runner-api.ts'
import { RUNNER_PROTOCOL, VERSION } from '../../protocol/version.ts'
import { ApiClient } from '../api/client.ts'
import type { Clock } from '../clock.ts'
import { type Config, readRegistrationToken } from '../config.ts'
import { LABELS } from '../executors/docker/template.ts'
import { type Log, reasonOf } from '../log.ts'
import type { Policy } from '../policy.ts'
import { SettingsError } from '../settings-error.ts'
import type { StateDirectory, StoredCredential } from '../state/state-directory.ts'
import { supervise } from '../supervisor.ts'
import type { RunnerMetrics } from '../telemetry/instruments.ts'
import { type ExecutorSetup, setUpExecutor } from './engine-setup.ts'
import { HealthState, healthLoop } from './health.ts'
import { leavingLoop } from './leaving.ts'
import { runMember } from './member.ts'
import { register, tokenHash } from './registration.ts'
import { changesSince, installationId, Membership } from './runner-identity.ts'
import { SessionKeeper, slotsOf } from './session-keeper.ts'
import type { StopSignals } from './shutdown.ts'
import { untilStored } from './storing.ts'

export interface DaemonParts {
  readonly config: Config
  readonly policy: Policy
  readonly state: StateDirectory
  readonly clock: Clock
  readonly log: Log
  readonly signals: StopSignals
  readonly metrics: RunnerMetrics
  /** The program and arguments that start this program again. */
  readonly ownCommand: readonly [string, ...string[]]
}

/** The daemon's whole life: find the Engine, keep what runs within its deadlines, join the pool, leave. */
export async function runDaemon(parts: DaemonParts): Promise<void> {
  const { config, state, clock, log, signals } = parts
  const health = new HealthState()
  const stopBeating = new AbortController()
  const beating = healthLoop(state.healthPath, health, clock, log, stopBeating.signal)
  const api = new ApiClient(config)
  try {
    const onTrouble = (reason: string) => health.set('engine', reason)
    const credential = readCredential(parts)
    const setup = await setUpExecutor({ ...parts, stored: credential.stored, onTrouble }, signals.leave)
    if (setup === null) return
    const keeper = new SessionKeeper({ ...parts, setup, stored: credential.stored, health })
    const done = new AbortController()
    const joining = async (signal: AbortSignal) => {
      await joinAndRun({ ...parts, credential, setup, api, health, keeper }, signal)
      done.abort()
    }
    await supervise([signal => keeper.run(signal), joining], done.signal)
  } finally {
    await api.close()
    stopBeating.abort()
    await beating
  }
}

interface Credential {
  readonly stored: StoredCredential | null
  /** Why the one that lies there is of no use. */
  readonly problem: SettingsError | null
}

/**
 * Where the containers are known by a name that only the lost credential holds, none of them is touched.
 * @throws SettingsError then
 */
function readCredential({ config, state }: DaemonParts): Credential {
  try {
    return { stored: state.credential(), problem: null }
  } catch (error) {
    const isNameLost = config.RUNNER_NAME_IS_DEFAULT && config.RUNNER_EXECUTOR === 'docker'
    if (!(error instanceof SettingsError) || isNameLost) throw error
    return { stored: null, problem: error }
  }
}

interface JoinParts extends DaemonParts {
  readonly credential: Credential
  readonly setup: ExecutorSetup
  readonly api: ApiClient
  readonly health: HealthState
  readonly keeper: SessionKeeper
}

/** The way into the pool and the life there, until the process is told to leave. @param signal ends the loops */
async function joinAndRun(parts: JoinParts, signal: AbortSignal): Promise<void> {
  const { signals, credential } = parts
  const before = AbortSignal.any([signals.leave, signal])
  let left = false
  try {
    if (credential.problem !== null) throw credential.problem
    left = await runInPool(parts, before, signal)
  } catch (error) {
    await endSessionsFirst(parts, error, before)
    throw error
  } finally {
    if (!left) await leaveUnheard(parts, signal)
  }
}

/**
 * A credential that the control plane refuses is replaced only if the operator has given another token since.
 * @param before ends the waiting until the runner is in its pool; @param signal also ends the loops after it
 * @returns whether it was in its pool, and has left it
 */
async function runInPool(parts: JoinParts, before: AbortSignal, signal: AbortSignal): Promise<boolean> {
  const { config, state, log, setup } = parts
  const boot = await untilStored('the number of this start', () => state.nextBoot(log), parts, before)
  if (boot === null) return false
  const engine = setup.engine === null ? {} : { engine: setup.engine }
  const labels = { ...config.RUNNER_LABELS }
  const about = { version: VERSION, platform: platformFacts(), labels, ...engine }
  let bootId = randomBytes(16).toString('hex')
  let stored = usableCredential(parts.credential.stored, config, setup, log)
  while (!before.aborted) {
    if (stored === null) {
      const own = bootId
      const begin = () => state.beginRegistration(own, log)
      const begun = await untilStored('a registration', begin, parts, before)
      if (begun === null) return false
      bootId = begun
      const request = { ...requestOf(parts), boot, boot_id: bootId, ...about }
      stored = await register({ ...parts, engineId: setup.engineId, request }, before)
    }
    if (stored === null) return false
    const current = stored
    const facts = { boot, bootId, about }
    const mayJoinAgain = () => hasNewToken(config, current, log)
    const membership = new Membership(state, current)
    const joinAgain = await runMember({ ...parts, membership, facts, mayJoinAgain }, signal)
    if (!joinAgain) return true
    log.warn('the stored credential is refused and another registration token is set: registering anew')
    stored = null
  }
  return false
}

/** Nobody else would end what an earlier process left running, when this one cannot go on. */
async function endSessionsFirst(
  { health, keeper, log }: JoinParts,
  error: unknown,
  signal: AbortSignal,
): Promise<void> {
  if (!(error instanceof SettingsError) || keeper.ledger.liveCount() === 0) return
  log.fatal({ error: error.message }, 'the runner ends as soon as the sessions on this host have ended')
  health.set('control_plane', error.message)
  await keeper.allEnded(signal)
}

/** The control plane does not know this process, but the operator may still have its sessions stopped. */
async function leaveUnheard(
  { clock, config, keeper, signals }: JoinParts,
  signal: AbortSignal,
): Promise<void> {
  if (!signals.leave.aborted) return
  const { ledger, sessions } = keeper
  const stopGraceMs = config.RUNNER_STOP_GRACE_SECONDS * 1000
  const sync = { ring: () => undefined, hasSaidLeaving: () => true }
  await leavingLoop({ ledger, sessions, sync, signals, stopGraceMs, clock, isHeard: () => false }, signal)
}

function requestOf(
  parts: JoinParts,
): Pick<RegisterRequest, 'protocol' | 'pool_id' | 'name' | 'max_concurrency'> {
  const { config, setup } = parts
  return {
    protocol: RUNNER_PROTOCOL,
    pool_id: config.RUNNER_POOL_ID,
    name: setup.runnerName,
    max_concurrency: slotsOf(parts),
  }
}

/** Another pool, another control plane, another name or another Engine: it is another runner. */
function usableCredential(
  stored: StoredCredential | null,
  config: Config,
  setup: ExecutorSetup,
  log: Log,
): StoredCredential | null {
  if (stored === null) return null
  const { engineId, runnerName } = setup
  const differs = changesSince(stored, config, runnerName, engineId).map(({ what }) => what)
  if (differs.length === 0) return stored
  log.warn({ differs }, 'the stored credential was given for something else, so it is not used; registering')
  tellOfFormer(stored, setup, log)
  return null
}

/** What becomes of the sessions of the runner that this one succeeds. */
function tellOfFormer(stored: StoredCredential, setup: ExecutorSetup, log: Log): void {
  const former = installationId(stored.pool_id, stored.name, stored.engine_id)
  if (former === setup.installationId) return
  const about = { former_name: stored.name, former_pool_id: stored.pool_id }
  if (stored.engine_id === setup.engineId) {
    const remedy = 'start it with its former settings before that, and its sessions go on'
    const what =
      'sessions of the former runner end with their leases, and at once when this one is registered'
    log.warn({ ...about, remedy }, what)
    return
  }
  const list = `docker ps -a --filter label=${LABELS.installation}=${former}`
  const remedy = `start it once more as it was, or remove on that Engine what is listed by: ${list}`
  log.error(
    { ...about, former_engine_id: stored.engine_id, remedy },
    'the former runner used another Docker Engine, where this process can neither end nor remove anything',
  )
}

/** A token that cannot be read is no other token: the sessions are ended rather than the process. */
function hasNewToken(config: Config, stored: StoredCredential, log: Log): boolean {
  try {
    const token = readRegistrationToken(config)
    return token !== null && token !== '' && tokenHash(token) !== stored.token_hash
  } catch (error) {
    log.warn({ error: reasonOf(error) }, 'there is no other registration token to use')
    return false
  }
}

function platformFacts(): Platform {
  return {
    os: platform(),
    arch: arch(),
    cpus: Math.max(1, cpus().length),
    memory_mb: Math.floor(totalmem() / 1024 / 1024),
  }
}
