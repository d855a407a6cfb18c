import type { PoolStore } from '../store/store.ts'
import type { Measured } from './measured.ts'
import type { Capacity, CommandRecord, Demand, PoolRecord, RunnerMemo } from './model.ts'

/** Durations of the rules, in milliseconds, from the settings. */
export interface Rules {
  readonly leaseTtlMs: number
  readonly leaseGraceMs: number
  readonly offerTtlMs: number
  readonly handoverMs: number
  readonly syncIdleMs: number
  readonly uploadWindowMs: number
}

/** What of the outside world a decision may look at, beside the store. */
export interface Doorbells {
  /** Latest sign of life of the runner's doorbell (its connection or last pong), or null without one. */
  lastPongAt(runnerId: string): number | null
}

/**
 * Everything a decision depends on: state, input, now. The core imports no runtime, so the same code runs
 * in the object, in the simulation and in tests.
 */
export interface PoolContext {
  readonly pool: PoolRecord
  readonly store: PoolStore
  readonly rules: Rules
  /** Never goes back, not even over a restart on a machine whose clock did. */
  readonly now: number
  /** When this object last woke with an empty memory. */
  readonly wokeAt: number
  readonly memos: Map<string, RunnerMemo>
  /** Of runners that have synced or were looked at since the object woke. */
  readonly capacities: Map<string, Capacity>
  readonly doorbells: Doorbells
  /** False while the feature is off for the tenant: nothing new is offered, running sessions finish. */
  readonly offersAllowed: boolean
  /** False while live view is off for the tenant: lines to relays are closed, none is opened. */
  readonly relayAllowed: boolean
  mintId(kind: 'session' | 'command'): string
  readonly effects: Effects
}

/** What a decision asks of the shell once it is stored. All of it may be lost without harm but the alarm. */
export interface Effects {
  /** The alarm must come no later than this. */
  wakeAt: number | null
  /** No lease was due before this until now; one is from here on. Null: none came to be due any sooner. */
  leaseDueAt: number | null
  /** Runners that have something to fetch. */
  readonly ring: Set<string>
  /** Sessions that have ended with a relay of theirs still open. */
  readonly streamsEnded: Set<string>
  /** Lines to relays that runners were ordered to open or to close: worth a line in the log. */
  readonly streamsOrdered: (CommandRecord & { readonly runId: string })[]
  /** Runners whose credential has died: their doorbells are closed. */
  readonly hangUp: Set<string>
  /** Runs that have begun to wait, or that a runner need not leave to others any longer: one demand each. */
  readonly seeking: Demand[]
  /** Whether any run that waits may go where it could not before. */
  workWaits: boolean
  /** Worth counting, with the transaction or after it. */
  readonly measured: Measured[]
}

export function wakeBy(ctx: PoolContext, at: number): void {
  ctx.effects.wakeAt = Math.min(ctx.effects.wakeAt ?? at, at)
}

/** For what becomes of a lease: the alarm reads the leases only when one of them may be due. */
export function wakeForLeaseBy(ctx: PoolContext, at: number): void {
  ctx.effects.leaseDueAt = Math.min(ctx.effects.leaseDueAt ?? at, at)
  wakeBy(ctx, at)
}
