import type { Exit } from '../../protocol/runner-api.ts'
import type { JournalEntry } from '../session-types.ts'

/** Every instrument of the runner; docs/telemetry.md lists the same, and a test compares them. */
export const RUNNER_METER = 'certyn.self_hosted.runner_daemon'

type Kind = 'counter' | 'histogram' | 'gauge'

export interface Instrument {
  readonly name: string
  readonly kind: Kind
  readonly unit: string
  readonly description: string
  /** Beside `pool`, which every point has. */
  readonly attributes: readonly string[]
}

export const RUNNER_INSTRUMENTS = {
  registrationFailures: {
    name: 'self_hosted.runner.registration.failures',
    kind: 'counter',
    unit: '{attempt}',
    description: 'Attempts to join the pool that failed',
    attributes: ['error.type'],
  },
  syncFailures: {
    name: 'self_hosted.runner.sync.failures',
    kind: 'counter',
    unit: '{request}',
    description: 'Syncs that were refused, or that nobody answered',
    attributes: ['error.type'],
  },
  syncDuration: {
    name: 'self_hosted.runner.sync.duration',
    kind: 'histogram',
    unit: 'ms',
    description: 'How long a sync took, failed ones included',
    attributes: ['error.type'],
  },
  relayFailures: {
    name: 'self_hosted.runner.relay.failures',
    kind: 'counter',
    unit: '{connection}',
    description: 'Connections to a relay that could not be made or broke while they were wanted',
    attributes: [],
  },
  orphansRemoved: {
    name: 'self_hosted.runner.orphans.removed',
    kind: 'counter',
    unit: '{container}',
    description: 'Containers removed that no record of this runner speaks of, or that a former one left',
    attributes: [],
  },
  slotsTotal: {
    name: 'self_hosted.runner.slots.total',
    kind: 'gauge',
    unit: '{slot}',
    description: 'Sessions that this runner takes at a time',
    attributes: [],
  },
  slotsBusy: {
    name: 'self_hosted.runner.slots.busy',
    kind: 'gauge',
    unit: '{slot}',
    description: 'Sessions that hold a slot',
    attributes: [],
  },
} as const satisfies Record<string, Instrument>

export type SessionFacts = Pick<
  JournalEntry,
  'session_id' | 'run_id' | 'attempt' | 'job' | 'started_at' | 'finished_at' | 'traceparent'
>

/** What the loops have to say. */
export interface RunnerMetrics {
  registrationFailed(errorType: string): void
  /** @param errorType why it failed; null when it was answered */
  syncEnded(durationMs: number, errorType: string | null): void
  relayFailed(): void
  orphanRemoved(): void
  /** The session's part of the trace that its run belongs to, if any. */
  sessionEnded(session: SessionFacts, exit: Exit): void
  /** @param look asked at every export */
  observeSlots(look: () => { readonly total: number; readonly busy: number }): void
}

export const NO_METRICS: RunnerMetrics = {
  registrationFailed: () => undefined,
  syncEnded: () => undefined,
  relayFailed: () => undefined,
  orphanRemoved: () => undefined,
  sessionEnded: () => undefined,
  observeSlots: () => undefined,
}
