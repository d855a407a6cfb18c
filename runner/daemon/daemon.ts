import { arch, cpus, platform, totalmem } from 'node:os'
import type { RegisterRequest, SyncResponse } from '../../protocol/runner-api.ts'
import { RUNNER_PROTOCOL, VERSION } from '../../protocol/version.ts'
import { ApiClient } from '../api/client.ts'
import { type Clock, jittered, sleep } from '../clock.ts'
import { type Config, readRegistrationToken } from '../config.ts'
import type { Log } from '../log.ts'
import type { Policy } from '../policy.ts'
import type { StateDirectory, StoredCredential } from '../state/state-directory.ts'
import { diskLoop } from './disk-loop.ts'
import { doorbellLoop } from './doorbell-loop.ts'
import { type ExecutorSetup, setUpExecutor } from './engine-setup.ts'
import { HealthState, healthLoop, measureHost } from './health.ts'
import { inventoryLoop } from './inventory-loop.ts'
import { Latch } from './latch.ts'
import { SessionLedger } from './ledger.ts'
import { register, tokenHash } from './registration.ts'
import { rotationLoop } from './rotation-loop.ts'
import { Membership } from './runner-identity.ts'
import { SessionLoop } from './session-loop.ts'
import type { StopSignals } from './shutdown.ts'
import { supervise } from './supervisor.ts'
import { type Refused, SyncLoop } from './sync-loop.ts'

/** A leaving runner with sessions stays so long, that a second signal can still say to stop them. */
const SECOND_SIGNAL_WINDOW_MS = 3_000
/** The process ends within 10 s of the signal; what is left is for writing down what is in flight. */
const LEAVING_SYNC_LIMIT_MS = 5_000
const SETTLE_LIMIT_MS = 3_000
/** After a halt: the SIGKILL that follows the grace needs a moment, and the exits are reported. */
const HALT_MARGIN_MS = 15_000
const POLL_MS = 50
const REMIND_MS = 300_000

/** How a refusal that no repetition will change is put to the operator. */
const REFUSED_REMEDIES: Readonly<Record<string, string>> = {
  unauthenticated:
    'the control plane no longer takes this runner’s credential: it was removed there; create a new registration token, set REGISTRATION_TOKEN and start the runner again',
  unsupported_protocol:
    'this release is not supported by the control plane: start the release that the message names',
  boot_superseded:
    'another process runs with this runner’s identity, perhaps from a copied state directory: give each runner a state directory of its own',
}

export interface DaemonParts {
  readonly config: Config
  readonly policy: Policy
  readonly state: StateDirectory
  readonly clock: Clock
  readonly log: Log
  readonly signals: StopSignals
  readonly ownCommand: readonly [string, ...string[]]
}

/** The daemon's whole life: find the Engine, join the pool, run the loops, leave. */
export async function runDaemon(parts: DaemonParts): Promise<void> {
  const { config, state, clock, log, signals } = parts
  const health = new HealthState()
  const stopHealth = new AbortController()
  const beating = healthLoop(state.healthPath, health, clock, log, stopHealth.signal)
  const api = new ApiClient(config)
  try {
    const setup = await setUpExecutor({ ...parts, onTrouble: reason => health.set(reason) }, signals.leave)
    if (setup !== null) await runMember(parts, setup, api, health)
  } finally {
    await api.close()
    stopHealth.abort()
    await beating
  }
}

/** A credential that the control plane refuses is replaced only if the operator has given another token since. */
async function runMember(
  parts: DaemonParts,
  setup: ExecutorSetup,
  api: ApiClient,
  health: HealthState,
): Promise<void> {
  const { config, state, signals, log } = parts
  const boot = await state.nextBoot()
  const bootId = await state.bootId()
  const about = {
    version: VERSION,
    platform: platformFacts(),
    ...(setup.engine !== null && { engine: setup.engine }),
  }
  const request: Omit<RegisterRequest, 'registration_token'> = {
    protocol: RUNNER_PROTOCOL,
    pool_id: config.RUNNER_POOL_ID,
    name: config.RUNNER_NAME,
    boot,
    boot_id: bootId,
    max_concurrency: slotsOf(parts),
    labels: { ...config.RUNNER_LABELS },
    ...about,
  }
  const onTrouble = (reason: string) => health.set(reason)
  const join = () =>
    register({ api, config, state, log, engineId: setup.engineId, request, onTrouble }, signals.leave)
  const usable = usableCredential(state.credential(), config, setup.engineId, log)
  const stored = usable ?? (await join())
  if (stored === null) return
  const refused = await runLoops(parts, setup, api, health, new Membership(state, stored), {
    boot,
    bootId,
    about,
  })
  if (refused?.code !== 'unauthenticated' || !hasNewToken(config, stored) || signals.leave.aborted) return
  log.warn('the stored credential is refused and another registration token is set: registering anew')
  const renewed = await join()
  if (renewed !== null) {
    await runLoops(parts, setup, api, health, new Membership(state, renewed), { boot, bootId, about })
  }
}

interface Process {
  readonly boot: number
  readonly bootId: string
  readonly about: Pick<RegisterRequest, 'version' | 'platform' | 'engine'>
}

async function runLoops(
  parts: DaemonParts,
  setup: ExecutorSetup,
  api: ApiClient,
  health: HealthState,
  membership: Membership,
  process: Process,
): Promise<Refused | null> {
  const { config, state, clock, log, signals } = parts
  const ledger = restoreLedger(parts)
  const runIdOf = (id: string) => ledger.session(id)?.entry?.run_id ?? ''
  const executor = setup.build({ runnerId: () => membership.identity.runnerId, runIdOf })
  const doubt = new Latch()
  const sync = new SyncLoop({
    api,
    membership,
    ledger,
    state,
    clock,
    log,
    ...process,
    health: () => measureHost(config.RUNNER_STATE_DIR, config.RUNNER_MIN_DISK_MB),
    onApplied: reply => {
      health.set(null)
      logReply(log, reply)
      sessions.wake()
    },
    onFailure: reason => health.set(reason),
  })
  const sessions = new SessionLoop({
    ledger,
    executor,
    state,
    clock,
    log,
    onChange: () => sync.noticeChange(),
    onDoubt: () => doubt.raise(),
  })
  const stop = new AbortController()
  const stopSyncing = new AbortController()
  let refused: Refused | null = null
  const syncing = async (signal: AbortSignal) => {
    refused = await sync.run(AbortSignal.any([signal, stopSyncing.signal]))
    if (refused === null) return
    stopSyncing.abort()
    if (refused.code === 'unauthenticated' && sync.appliedCount() === 0 && hasNewTokenFor(config, state)) {
      stop.abort()
      return
    }
    const message = REFUSED_REMEDIES[refused.code] ?? refused.detail
    ledger.halt(`the control plane refused this process: ${refused.code}`, clock.now())
    sessions.wake()
    health.set(`${refused.code}: ${refused.detail}`)
    while (!signal.aborted) {
      const line = { code: refused.code, detail: refused.detail, remedy: message }
      log.fatal(
        line,
        'this process may no longer speak for the runner; its sessions are stopped and it stays idle',
      )
      await sleep(jittered(REMIND_MS), signal)
    }
  }
  const leaving = async (signal: AbortSignal) => {
    await aborted(AbortSignal.any([signal, signals.leave]))
    if (!signal.aborted) await leave({ ledger, sessions, sync, signals, config, clock }, signal)
    stop.abort()
  }
  const whileSyncing = (signal: AbortSignal) => AbortSignal.any([signal, stopSyncing.signal])
  await supervise(
    [
      signal => sessions.run(signal),
      signal =>
        inventoryLoop({ executor, clock, log, doubt, observe: seen => sessions.observe(seen) }, signal),
      syncing,
      signal => doorbellLoop({ config, membership, log, onRing: () => sync.ring() }, whileSyncing(signal)),
      signal => rotationLoop(api, membership, log, whileSyncing(signal)),
      signal =>
        diskLoop(
          {
            ledger,
            clock,
            limitMb: config.RUNNER_SESSION_DISK_MB,
            folderOf: id => state.sessionFolder(id),
            onChange: () => sessions.wake(),
          },
          signal,
        ),
      leaving,
    ],
    stop.signal,
  )
  return refused
}

interface LeavingParts {
  readonly ledger: SessionLedger
  readonly sessions: SessionLoop
  readonly sync: SyncLoop
  readonly signals: StopSignals
  readonly config: Config
  readonly clock: Clock
}

/** Ends when the process may: said so to the control plane, nothing half written, and nobody asked for more. */
async function leave(parts: LeavingParts, signal: AbortSignal): Promise<void> {
  const { ledger, sessions, sync, signals } = parts
  const began = performance.now()
  const before = sync.appliedCount()
  ledger.leave()
  sync.ring()
  sessions.wake()
  const passed = () => performance.now() - began
  await until(() => {
    if (signal.aborted || signals.halt.aborted) return true
    const said = sync.appliedCount() > before || passed() > LEAVING_SYNC_LIMIT_MS
    const listened = ledger.liveCount() === 0 || passed() > SECOND_SIGNAL_WINDOW_MS
    return said && listened
  })
  if (signals.halt.aborted) await halt(parts, signal)
  const settling = performance.now()
  await until(() => signal.aborted || !sessions.isBusy() || performance.now() - settling > SETTLE_LIMIT_MS)
}

async function halt(parts: LeavingParts, signal: AbortSignal): Promise<void> {
  const { ledger, sessions, config, clock } = parts
  ledger.halt('the operator stopped the runner', clock.now())
  sessions.wake()
  const limitMs = config.RUNNER_STOP_GRACE_SECONDS * 1000 + HALT_MARGIN_MS
  const began = performance.now()
  const late = () => signal.aborted || performance.now() - began > limitMs
  await until(() => ledger.liveCount() === 0 || late())
  const reporting = performance.now()
  await until(() => ledger.isEmpty() || late() || performance.now() - reporting > LEAVING_SYNC_LIMIT_MS)
}

function restoreLedger({ config, state, log, policy }: DaemonParts): SessionLedger {
  const { entries, unreadable } = state.journal.restore()
  if (unreadable.length > 0)
    log.error({ files: unreadable }, 'journal entries cannot be read; their containers are still found')
  for (const { session_id, run_id, step } of entries)
    log.info({ session_id, run_id, step }, 'found in the journal')
  return new SessionLedger({
    slotsMax: slotsOf({ config, policy }),
    stopGraceMs: config.RUNNER_STOP_GRACE_SECONDS * 1000,
    restored: entries,
    lastSync: state.lastSync(),
  })
}

function slotsOf({ config, policy }: Pick<DaemonParts, 'config' | 'policy'>): number {
  return Math.min(config.MAX_CONCURRENCY, policy.max_concurrency ?? config.MAX_CONCURRENCY)
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

function hasNewTokenFor(config: Config, state: StateDirectory): boolean {
  const stored = state.credential()
  return stored !== null && hasNewToken(config, stored)
}

function logReply(log: Log, reply: SyncResponse): void {
  for (const { session_id, run_id, attempt, job } of reply.offers) {
    log.info({ session_id, run_id, attempt, image: job.image }, 'offered a session')
  }
  for (const { id, type, session_id, reason } of reply.commands) {
    log.info({ command_id: id, session_id, reason }, `command: ${type}`)
  }
  for (const { session_id, verdict } of reply.leases) {
    if (verdict === 'stop')
      log.warn({ session_id }, 'the control plane no longer knows the session as live: stop')
  }
}

function platformFacts(): { os: string; arch: string; cpus: number; memory_mb: number } {
  return {
    os: platform(),
    arch: arch(),
    cpus: Math.max(1, cpus().length),
    memory_mb: Math.floor(totalmem() / 1024 / 1024),
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  await new Promise<void>(resolve => signal.addEventListener('abort', () => resolve(), { once: true }))
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(POLL_MS)
}
