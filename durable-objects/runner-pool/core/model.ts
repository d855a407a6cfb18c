import type { PoolState } from '../../../protocol/admin-api.ts'
import type { Failure, Resources, RunEventType, RunStatus } from '../../../protocol/run.ts'
import type {
  CommandType,
  Engine,
  Health,
  Platform,
  SessionState,
  StopReason,
} from '../../../protocol/runner-api.ts'
import type { Labels } from '../../../protocol/text.ts'
import type { StreamCounts } from '../../session-relay/rpc.ts'

/** Domain records of one pool. All times are epoch milliseconds on the object's own monotonic clock. */

export interface PoolRecord {
  readonly tenantId: string
  readonly tenantSlug: string
  readonly poolId: string
  state: PoolState
  note: string | null
}

/** What the user asked for; never changes after `enqueue`. The run's env is kept apart, to be erased. */
export interface RunSpec {
  readonly environmentId: string
  readonly image: string
  readonly command: readonly string[] | null
  readonly timeoutSeconds: number
  readonly queueTimeoutSeconds: number
  readonly priority: number
  readonly labels: Labels
  readonly resources: Resources
  readonly stream: boolean
  readonly maxAttempts: number
  readonly metadata: Readonly<Record<string, string>>
  /** What its attempts are a part of; kept for as long as the run is. */
  readonly traceparent?: string | undefined
}

/** Until then this runner lets others have the run. */
export interface Pause {
  readonly runnerId: string
  readonly until: number
}

/** A runner that had an earlier attempt of the run. */
export interface Tried extends Pause {
  /** How often it had it. */
  readonly times: number
  /** Its policy refused the run: it can never take it. */
  readonly forbidden: boolean
}

/** What decides whether a runner may take a waiting run. */
export interface Demand {
  readonly labels: Labels
  readonly memoryMb: number
  /** Runners that can never take it. */
  readonly forbidden: readonly string[]
  /** Runners that may not take it yet; some may be over. */
  readonly pauses: readonly Pause[]
}

export interface RunRecord {
  readonly id: string
  readonly spec: RunSpec
  status: RunStatus
  /** Null where an earlier release has set it. */
  statusSince: number | null
  /** Rises by one with every event; orders snapshots and events in the projection. */
  version: number
  /** Offers so far, as users see it. */
  attempt: number
  /** Attempts that count towards `maxAttempts`: a lapsed offer does not, nor does a policy's refusal. */
  attemptsSpent: number
  tried: readonly Tried[]
  /** The lane it waits in, or null while it does not wait. */
  laneId: number | null
  sessionId: string | null
  runnerId: string | null
  imageDigest: string | null
  readonly queuedAt: number
  /** Still queued by then: `queue_timeout`. Counted anew after a spent attempt. */
  queueDeadline: number
  startedAt: number | null
  finishedAt: number | null
  exitCode: number | null
  failure: Failure | null
  cancelRequestedAt: number | null
}

/** `offered` until the runner first lists the session; then what it last reported. */
export type LeaseState = 'offered' | Exclude<SessionState, 'exited'>

export interface LeaseRecord {
  readonly runnerId: string
  readonly sessionId: string
  readonly runId: string
  state: LeaseState
  readonly offeredAt: number
  readonly offerEndsAt: number
  acceptedAt: number | null
  runningAt: number | null
  /** Set while the runner's syncs do not list the session: when it ends, whatever else they renew. */
  frozenUntil: number | null
  /** Applied complete inventories in a row that did not list it, or `MISSING_NOT_COUNTED`. */
  missing: number
  stop: { readonly reason: StopReason; readonly requestedAt: number } | null
  /** Event types already recorded for this session from the runner's notices. */
  notices: readonly string[]
  readonly timeoutMs: number
  readonly memoryMb: number
}

export interface RunnerRecord {
  readonly id: string
  readonly name: string
  tokenId: string
  credentialHash: string
  pendingCredentialHash: string | null
  boot: number
  bootId: string
  /** Highest applied sync of this boot that wrote anything; the memo may know a higher one. */
  seq: number
  /** False between a registration and the first sync after it. */
  synced: boolean
  slotsMax: number
  labels: Labels
  version: string
  /** Of the agent image that it started last; null while that is not known. */
  agentVersion: string | null
  protocol: number
  platform: Platform
  engine: Engine | null
  /** The admin's wish. */
  state: PoolState
  note: string | null
  /** The runner's own wish. */
  drainingItself: boolean
  /** Its last sync said it leaves; offline until it syncs again. */
  left: boolean
  readonly registeredAt: number
  lastSeenAt: number
  nextSyncMs: number
  health: Health | null
  /** Receipt of the last sync that renewed leases, and how long they hold from then. */
  renewedAt: number
  holdMs: number
  removedAt: number | null
}

/**
 * The runner has moved to another Engine since it was given this session: its inventories say nothing about it, its
 * container may still run where it was, and an offer of it is not given again.
 */
export const MISSING_NOT_COUNTED = -1

/** What the runs of a lane have in common. */
export interface LaneKey extends Omit<Demand, 'pauses'> {
  /** Somebody had its runs before, and may have to let others have them first: each says so itself. */
  readonly retried: boolean
}

/** Runs that any one runner either can or cannot take, but for the pauses of those in a `retried` lane. */
export interface LaneRecord extends LaneKey {
  readonly id: number
  readonly queued: number
}

export interface QueueEntry {
  readonly laneId: number
  readonly priority: number
  readonly queuedAt: number
  readonly runId: string
  /** Empty outside a `retried` lane. */
  readonly pauses: readonly Pause[]
}

export interface CommandRecord {
  readonly id: string
  readonly runnerId: string
  readonly sessionId: string
  readonly type: CommandType
  readonly reason: string | null
  readonly issuedAt: number
}

/** The live view of one session, as its relay last reported it. */
export interface StreamRecord {
  readonly runnerId: string
  readonly sessionId: string
  readonly state: 'off' | 'connecting' | 'live'
  readonly viewers: number
  /** Whether the runner's line to the relay is open. */
  readonly publisher: boolean
  /** Whether there was a picture since somebody began to watch. */
  readonly opened: boolean
  /** What the relay has counted so far; all 0 where nobody asked for metrics. */
  readonly counts: StreamCounts
}

/** A run event on its way to D1. */
export interface OutboxEntry {
  readonly runId: string
  readonly seq: number
  readonly at: number
  readonly type: RunEventType
  readonly sessionId: string | null
  readonly runnerId: string | null
  readonly detail: string
}

/** What the object knows of a runner only while it is awake; losing it must never matter. */
export interface RunnerMemo {
  readonly bootId: string
  readonly seq: number
  readonly seenAt: number
  readonly nextSyncMs: number
  readonly health: Health | null
  /** The last pong of a doorbell that has been cut since; null while none was. */
  readonly pongAt: number | null
}

/** What a runner could take as of its last sync or of the last look at its rows; kept only while the object is awake. */
export interface Capacity {
  readonly runner: Readonly<RunnerRecord>
  readonly freeSlots: number
  /** Null: not known, and so no obstacle. */
  readonly memoryLeftMb: number | null
}
