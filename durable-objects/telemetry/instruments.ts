/** Every instrument of the control plane; docs/telemetry.md lists the same, and a test compares them. */
export const CONTROL_PLANE_METER = 'certyn.self_hosted.control_plane'

export interface Instrument {
  readonly name: string
  readonly kind: 'counter' | 'histogram' | 'gauge'
  readonly unit: string
  readonly description: string
  readonly attributes: readonly string[]
  /** Upper bounds of a histogram's buckets, in its unit. */
  readonly buckets?: readonly number[]
}

/** A sync takes milliseconds; an object that is moved or overloaded takes seconds. */
const SYNC_BUCKETS_MS = [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000]
/** From a free runner at its doorbell to a queue that is days long. */
const WAIT_BUCKETS_S = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400, 86_400]

/** Recorded by the Worker around its calls, kept in the isolate's memory until they are delivered. */
export const WORKER_INSTRUMENTS = {
  syncRequests: {
    name: 'self_hosted.runner.sync.requests',
    kind: 'counter',
    unit: '{request}',
    description: 'Syncs of runners, refused ones included',
    attributes: ['pool'],
  },
  syncFailures: {
    name: 'self_hosted.runner.sync.failures',
    kind: 'counter',
    unit: '{request}',
    description: 'Syncs that were refused or could not be answered',
    attributes: ['pool', 'error.type'],
  },
  syncDuration: {
    name: 'self_hosted.runner.sync.duration',
    kind: 'histogram',
    unit: 'ms',
    description: "How long the pool's object took for a sync",
    attributes: ['pool'],
    buckets: SYNC_BUCKETS_MS,
  },
  registrationFailures: {
    name: 'self_hosted.runner.registration.failures',
    kind: 'counter',
    unit: '{attempt}',
    description: 'Registrations that were refused or could not be answered',
    attributes: ['pool', 'error.type'],
  },
} as const satisfies Record<string, Instrument>

/** Facts of a pool, counted in its object's storage by the transaction that made them facts. */
export const POOL_COUNTERS = {
  leasesExpired: {
    name: 'self_hosted.cleanup.leases.expired',
    kind: 'counter',
    unit: '{lease}',
    description: 'Leases that ended because their runner stopped renewing them',
    attributes: ['pool', 'tenant'],
  },
  relayConnections: {
    name: 'self_hosted.relay.connections',
    kind: 'counter',
    unit: '{connection}',
    description: "Connections of runners to their sessions' relays, with those that were waited for in vain",
    attributes: ['pool', 'tenant'],
  },
  relayTimeouts: {
    name: 'self_hosted.relay.connections.timeouts',
    kind: 'counter',
    unit: '{connection}',
    description: 'Times that viewers waited for the runner until they were told that it does not connect',
    attributes: ['pool', 'tenant'],
  },
  relayFramesDropped: {
    name: 'self_hosted.relay.frames.dropped',
    kind: 'counter',
    unit: '{frame}',
    description: 'Frames that a viewer was not given because it was slower than the stream',
    attributes: ['pool', 'tenant'],
  },
} as const satisfies Record<string, Instrument>

/** What happens to runs, kept in the object's memory until it is delivered. */
export const POOL_INSTRUMENTS = {
  pickupDuration: {
    name: 'self_hosted.run.pickup.duration',
    kind: 'histogram',
    unit: 's',
    description: 'From the creation of a run to its first offer to a runner',
    attributes: ['pool', 'tenant'],
    buckets: WAIT_BUCKETS_S,
  },
  stateDuration: {
    name: 'self_hosted.run.state.duration',
    kind: 'histogram',
    unit: 's',
    description: 'How long runs were in a state, when they leave it',
    attributes: ['pool', 'tenant', 'state'],
    buckets: WAIT_BUCKETS_S,
  },
  runsEnded: {
    name: 'self_hosted.runs.ended',
    kind: 'counter',
    unit: '{run}',
    description: 'Runs that ended, by status and, where they failed, by failure code',
    attributes: ['pool', 'tenant', 'status', 'error.type'],
  },
} as const satisfies Record<string, Instrument>

/** How the pool is, taken with its samples: once a minute while anything waits or runs, and once more after it. */
export const POOL_GAUGES = {
  queueDepth: {
    name: 'self_hosted.queue.depth',
    kind: 'gauge',
    unit: '{run}',
    description: 'Runs that wait for a runner',
    attributes: ['pool', 'tenant'],
  },
  queueOldestWait: {
    name: 'self_hosted.queue.oldest_wait',
    kind: 'gauge',
    unit: 's',
    description: 'How long the oldest of them has waited; 0 while none does',
    attributes: ['pool', 'tenant'],
  },
  slotsTotal: {
    name: 'self_hosted.slots.total',
    kind: 'gauge',
    unit: '{slot}',
    description: 'Slots of the online runners',
    attributes: ['pool', 'tenant'],
  },
  slotsBusy: {
    name: 'self_hosted.slots.busy',
    kind: 'gauge',
    unit: '{slot}',
    description: 'Slots that a session holds or is offered',
    attributes: ['pool', 'tenant'],
  },
  runnersOnline: {
    name: 'self_hosted.runners.online',
    kind: 'gauge',
    unit: '{runner}',
    description: 'Runners that are online',
    attributes: ['pool', 'tenant'],
  },
  runnersTotal: {
    name: 'self_hosted.runners.total',
    kind: 'gauge',
    unit: '{runner}',
    description: 'Runners that are registered, offline ones included',
    attributes: ['pool', 'tenant'],
  },
  runnersBehind: {
    name: 'self_hosted.runners.behind',
    kind: 'gauge',
    unit: '{runner}',
    description: 'Online runners of an older release than the control plane',
    attributes: ['pool', 'tenant'],
  },
  relayViewers: {
    name: 'self_hosted.relay.viewers',
    kind: 'gauge',
    unit: '{viewer}',
    description: 'Viewers that watch sessions of the pool live',
    attributes: ['pool', 'tenant'],
  },
  outboxLag: {
    name: 'self_hosted.outbox.lag',
    kind: 'gauge',
    unit: 's',
    description: 'Age of the oldest run event that D1 does not have yet; 0 while it has all',
    attributes: ['pool', 'tenant'],
  },
  createdAt: {
    name: 'self_hosted.pool.created_at',
    kind: 'gauge',
    unit: 's',
    description: 'When the pool was created, in seconds since the epoch',
    attributes: ['pool', 'tenant'],
  },
} as const satisfies Record<string, Instrument>

export type PoolCounter = keyof typeof POOL_COUNTERS
export type PoolGauge = keyof typeof POOL_GAUGES

export const CONTROL_PLANE_INSTRUMENTS: readonly Instrument[] = [
  ...Object.values(WORKER_INSTRUMENTS),
  ...Object.values(POOL_COUNTERS),
  ...Object.values(POOL_INSTRUMENTS),
  ...Object.values(POOL_GAUGES),
]
