import type { RegisterRequest } from '../../protocol/runner-api.ts'
import type { ApiClient } from '../api/client.ts'
import type { Clock } from '../clock.ts'
import { Complaint } from '../complaint.ts'
import type { Config } from '../config.ts'
import type { Log } from '../log.ts'
import type { Policy } from '../policy.ts'
import type { StateDirectory } from '../state/state-directory.ts'
import { supervise } from '../supervisor.ts'
import type { RunnerMetrics } from '../telemetry/instruments.ts'
import { doorbellLoop } from './doorbell-loop.ts'
import { type HealthState, measureHost, sayIfFull } from './health.ts'
import { leavingLoop } from './leaving.ts'
import { idle } from './refusal.ts'
import { ReplyLog } from './reply-log.ts'
import { rotationLoop } from './rotation-loop.ts'
import type { Membership } from './runner-identity.ts'
import type { SessionKeeper } from './session-keeper.ts'
import type { StopSignals } from './shutdown.ts'
import { StreamLoop } from './stream-loop.ts'
import { SyncLoop } from './sync-loop.ts'

/** What this process says of itself in every call. */
interface ProcessFacts {
  readonly boot: number
  readonly bootId: string
  readonly about: Pick<RegisterRequest, 'version' | 'platform' | 'engine' | 'labels'>
}

interface MemberParts {
  readonly config: Config
  readonly policy: Policy
  readonly state: StateDirectory
  readonly clock: Clock
  readonly log: Log
  readonly signals: StopSignals
  readonly api: ApiClient
  readonly keeper: SessionKeeper
  readonly membership: Membership
  readonly health: HealthState
  readonly metrics: RunnerMetrics
  readonly facts: ProcessFacts
  /** Whether a credential that was never taken should end the loops, because there is another way to get one. */
  readonly mayJoinAgain: () => boolean
}

/** The loops of a runner that is in its pool, until the process is told to stop. @returns whether to join again instead */
export async function runMember(parts: MemberParts, outer: AbortSignal): Promise<boolean> {
  const { api, clock, config, keeper, log, membership, signals } = parts
  const { ledger, sessions } = keeper
  const sync = syncLoopOf(parts)
  const streams = new StreamLoop({
    config,
    policy: parts.policy,
    state: parts.state,
    membership,
    ledger,
    log,
    metrics: parts.metrics,
    onChange: () => sync.noticeChange(),
  })
  keeper.join(api, membership, () => {
    streams.wake()
    sync.noticeChange()
  })
  const stop = new AbortController()
  const silence = new AbortController()
  let joinAgain = false
  const syncing = async (signal: AbortSignal) => {
    // Otherwise the first thing it said would be that it takes no work, which is about to be untrue.
    await keeper.firstLook(signal)
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
    parts.health.set('control_plane', `${refused.code}: ${refused.detail}`)
    await idle(refused, log, signal)
  }
  const leaving = async (signal: AbortSignal) => {
    const stopGraceMs = config.RUNNER_STOP_GRACE_SECONDS * 1000
    const isHeard = () => !silence.signal.aborted
    await leavingLoop({ ledger, sessions, sync, signals, stopGraceMs, clock, isHeard }, signal)
    stop.abort()
  }
  const whileHeard = (signal: AbortSignal) => AbortSignal.any([signal, silence.signal])
  await supervise(
    [
      syncing,
      signal => doorbellLoop({ config, membership, log, onRing: () => sync.ring() }, whileHeard(signal)),
      signal => rotationLoop(api, membership, log, whileHeard(signal)),
      leaving,
      signal => streams.run(signal),
    ],
    AbortSignal.any([stop.signal, outer]),
  )
  return joinAgain
}

function syncLoopOf(parts: MemberParts): SyncLoop {
  const { api, clock, config, facts, health, keeper, log, membership, metrics, state } = parts
  const replies = new ReplyLog(log)
  const full = new Complaint(clock, log)
  return new SyncLoop({
    api,
    membership,
    ledger: keeper.ledger,
    state,
    clock,
    log,
    ...facts,
    leaseTtlMs: keeper.lastSync?.leaseTtlMs ?? Number.POSITIVE_INFINITY,
    health: async () => {
      const measured = await measureHost(config.RUNNER_STATE_DIR, config.RUNNER_MIN_DISK_MB)
      sayIfFull(full, measured, config)
      return measured
    },
    onApplied: reply => {
      health.set('control_plane', null)
      replies.note(reply)
      keeper.sessions.wake()
    },
    onFailure: reason => health.set('control_plane', reason),
    metrics,
  })
}
