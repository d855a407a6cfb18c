import type { RegisterRequest, SyncResponse } from '../../protocol/runner-api.ts'
import type { ApiClient } from '../api/client.ts'
import type { Clock } from '../clock.ts'
import type { Config } from '../config.ts'
import type { Executor } from '../executors/executor.ts'
import type { Log } from '../log.ts'
import type { Policy } from '../policy.ts'
import type { StateDirectory } from '../state/state-directory.ts'
import { diskLoop } from './disk-loop.ts'
import { doorbellLoop } from './doorbell-loop.ts'
import type { ExecutorSetup } from './engine-setup.ts'
import { type HealthState, measureHost } from './health.ts'
import { inventoryLoop } from './inventory-loop.ts'
import { Latch } from './latch.ts'
import { leavingLoop } from './leaving.ts'
import { SessionLedger } from './ledger.ts'
import { idle } from './refusal.ts'
import { rotationLoop } from './rotation-loop.ts'
import type { Membership } from './runner-identity.ts'
import { SessionLoop } from './session-loop.ts'
import type { StopSignals } from './shutdown.ts'
import { supervise } from './supervisor.ts'
import { SyncLoop } from './sync-loop.ts'

/** How long the first sync waits for the first listing; sessions restored must be renewed before their leases end. */
const FIRST_LOOK_MS = 2_000

/** What this process says of itself in every call. */
export interface ProcessFacts {
  readonly boot: number
  readonly bootId: string
  readonly about: Pick<RegisterRequest, 'version' | 'platform' | 'engine'>
}

export interface MemberParts {
  readonly config: Config
  readonly policy: Policy
  readonly state: StateDirectory
  readonly clock: Clock
  readonly log: Log
  readonly signals: StopSignals
  readonly api: ApiClient
  readonly setup: ExecutorSetup
  readonly membership: Membership
  readonly health: HealthState
  readonly facts: ProcessFacts
  /** Whether a credential that was never taken should end the loops, because there is another way to get one. */
  readonly mayJoinAgain: () => boolean
}

export function slotsOf({ config, policy }: Pick<MemberParts, 'config' | 'policy'>): number {
  return Math.min(config.MAX_CONCURRENCY, policy.max_concurrency ?? config.MAX_CONCURRENCY)
}

/** The loops of a runner that is in its pool, until the process is told to stop. @returns whether to join again instead */
export async function runMember(parts: MemberParts): Promise<boolean> {
  const { api, clock, config, log, membership, setup, signals, state } = parts
  const ledger = restoreLedger(parts)
  const runIdOf = (id: string) => ledger.session(id)?.entry?.run_id ?? ''
  const executor = setup.build({ runnerId: () => membership.identity.runnerId, runIdOf })
  const doubt = new Latch()
  const looked = new Latch()
  const { sessions, sync } = wire(parts, ledger, executor, doubt)
  const stop = new AbortController()
  const silence = new AbortController()
  let joinAgain = false
  const syncing = async (signal: AbortSignal) => {
    // Otherwise the first thing it said would be that it takes no work, which is about to be untrue.
    await looked.wait(FIRST_LOOK_MS, signal)
    const refused = await sync.run(AbortSignal.any([signal, silence.signal]))
    if (refused === null) return
    silence.abort()
    if (refused.code === 'unauthenticated' && sync.appliedCount() === 0 && parts.mayJoinAgain()) {
      joinAgain = true
      stop.abort()
      return
    }
    ledger.halt(`the control plane refused this process: ${refused.code}`, clock.now())
    sessions.wake()
    parts.health.set(`${refused.code}: ${refused.detail}`)
    await idle(refused, log, signal)
  }
  const leaving = async (signal: AbortSignal) => {
    const stopGraceMs = config.RUNNER_STOP_GRACE_SECONDS * 1000
    const isHeard = () => !silence.signal.aborted
    await leavingLoop({ ledger, sessions, sync, signals, stopGraceMs, clock, isHeard }, signal)
    stop.abort()
  }
  const whileHeard = (signal: AbortSignal) => AbortSignal.any([signal, silence.signal])
  const observe: SessionLoop['observe'] = seen => {
    sessions.observe(seen)
    looked.raise()
  }
  const disk = {
    ledger,
    clock,
    limitMb: config.RUNNER_SESSION_DISK_MB,
    folderOf: (id: string) => state.sessionFolder(id),
    onChange: () => sessions.wake(),
  }
  await supervise(
    [
      signal => sessions.run(signal),
      signal => inventoryLoop({ executor, clock, log, doubt, observe }, signal),
      syncing,
      signal => doorbellLoop({ config, membership, log, onRing: () => sync.ring() }, whileHeard(signal)),
      signal => rotationLoop(api, membership, log, whileHeard(signal)),
      signal => diskLoop(disk, signal),
      leaving,
    ],
    stop.signal,
  )
  return joinAgain
}

/** Each loop tells the other what it has learnt, and neither waits for it. */
function wire(
  { api, clock, config, facts, health, log, membership, state }: MemberParts,
  ledger: SessionLedger,
  executor: Executor,
  doubt: Latch,
): { sessions: SessionLoop; sync: SyncLoop } {
  const sync = new SyncLoop({
    api,
    membership,
    ledger,
    state,
    clock,
    log,
    ...facts,
    health: () => measureHost(config.RUNNER_STATE_DIR, config.RUNNER_MIN_DISK_MB),
    onApplied: reply => {
      health.set(null)
      logReply(log, reply)
      sessions.wake()
    },
    onFailure: reason => health.set(reason),
  })
  const onChange = () => sync.noticeChange()
  const onDoubt = () => doubt.raise()
  const sessions = new SessionLoop({ ledger, executor, state, clock, log, onChange, onDoubt })
  return { sessions, sync }
}

function restoreLedger({ config, state, log, policy }: MemberParts): SessionLedger {
  const { entries, unreadable } = state.journal.restore()
  if (unreadable.length > 0) {
    log.error({ files: unreadable }, 'journal entries cannot be read; their containers are still found')
  }
  for (const { session_id, run_id, step } of entries) {
    log.info({ session_id, run_id, step }, 'found in the journal')
  }
  return new SessionLedger({
    slotsMax: slotsOf({ config, policy }),
    stopGraceMs: config.RUNNER_STOP_GRACE_SECONDS * 1000,
    restored: entries,
    lastSync: state.lastSync(),
  })
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
