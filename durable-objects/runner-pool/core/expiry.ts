import type { StopReason } from '../../../protocol/runner-api.ts'
import { settleLapse, settleLoss, settleStop } from './attempt.ts'
import { type PoolContext, wakeForLeaseBy } from './context.ts'
import type { LeaseRecord, RunnerRecord } from './model.ts'
import { moveTo } from './run-state.ts'
import { lookAtWaiting } from './waiting.ts'

/**
 * When things end that nobody ends. The runner gives up first: it counts the TTL from when it sent a sync,
 * the object from when it received it, plus the grace. Expiry is a fact about the clock, so it is checked
 * wherever a lease is looked at; the alarm only makes sure that somebody looks.
 */

/** A runner ends a session itself at its timeout; this much later it is told to. */
const TIMEOUT_STOP_DELAY_MS = 30_000
/** Pulling and starting may take this long before the run's own timeout is counted against it. */
const START_LIMIT_MS = 30 * 60_000
/** A session told to stop that is still listed after this ends without the runner's word. */
const STOP_LIMIT_MS = 15 * 60_000
/** Waiting runs that are due are looked at in batches, so that one alarm stays short. */
const QUEUE_BATCH = 200

/** When the lease ends unless it is renewed. */
export function leaseEndsAt(ctx: PoolContext, lease: LeaseRecord, runner: RunnerRecord): number {
  const held =
    lease.state === 'offered' ? lease.offerEndsAt : (lease.frozenUntil ?? runner.renewedAt + runner.holdMs)
  return held + ctx.rules.leaseGraceMs
}

/** The next time this lease needs a look, if nothing else happens. */
export function leaseDueAt(ctx: PoolContext, lease: LeaseRecord, runner: RunnerRecord): number {
  return Math.min(leaseEndsAt(ctx, lease, runner), stopDueAt(lease) ?? Number.POSITIVE_INFINITY)
}

/** Ends the lease if its time is over. @returns whether it is still live */
export function checkLease(ctx: PoolContext, lease: LeaseRecord, runner: RunnerRecord): boolean {
  const over = ctx.now >= leaseEndsAt(ctx, lease, runner)
  const stopDue = stopDueAt(lease)
  if (!over && (stopDue === null || ctx.now < stopDue)) return true
  const run = ctx.store.runs.get(lease.runId)
  if (run === null) throw new Error(`lease ${lease.sessionId} has no run`)
  if (over) {
    if (lease.state === 'offered') settleLapse(ctx, lease, run)
    else if (runner.removedAt !== null) settleLoss(ctx, lease, run, 'runner_removed')
    else settleLoss(ctx, lease, run, 'lease_expired')
    return false
  }
  if (lease.stop !== null) {
    settleStop(ctx, lease, run, lease.stop.reason)
    return false
  }
  requestStop(ctx, lease, 'timeout')
  moveTo(ctx, run, 'stopping', 'it ran past its timeout and the runner did not end it')
  ctx.store.runs.update(run)
  return true
}

/** Orders the runner to end the session; the order is repeated until the session has ended. */
export function requestStop(ctx: PoolContext, lease: LeaseRecord, reason: StopReason): void {
  lease.stop = { reason, requestedAt: ctx.now }
  ctx.store.leases.update(lease)
  issueStop(ctx, lease)
}

export function issueStop(ctx: PoolContext, lease: LeaseRecord): void {
  if (lease.stop === null) return
  ctx.store.commands.insert({
    id: ctx.mintId('command'),
    runnerId: lease.runnerId,
    sessionId: lease.sessionId,
    type: 'stop_session',
    reason: lease.stop.reason,
    issuedAt: ctx.now,
  })
  ctx.effects.ring.add(lease.runnerId)
  wakeForLeaseBy(ctx, lease.stop.requestedAt + STOP_LIMIT_MS)
}

/**
 * Ends and orders everything that is due.
 *
 * @param leasesDueAt no lease is due before this, so none is read; 0 where nobody knows
 * @returns the same for the next sweep, and when that should be (null: never, as far as is known)
 */
export function sweep(ctx: PoolContext, leasesDueAt: number): { leasesDueAt: number; next: number | null } {
  const leases = ctx.now < leasesDueAt ? leasesDueAt : (sweepLeases(ctx) ?? Number.POSITIVE_INFINITY)
  const next = Math.min(leases, sweepQueue(ctx) ?? Number.POSITIVE_INFINITY)
  sweepRemovedRunners(ctx)
  return { leasesDueAt: leases, next: Number.isFinite(next) ? next : null }
}

function sweepLeases(ctx: PoolContext): number | null {
  const runners = new Map<string, RunnerRecord | null>()
  let earliest: number | null = null
  for (const lease of ctx.store.leases.all()) {
    const known = runners.get(lease.runnerId)
    const runner = known === undefined ? ctx.store.runners.get(lease.runnerId) : known
    runners.set(lease.runnerId, runner)
    if (runner === null) throw new Error(`lease ${lease.sessionId} has no runner`)
    if (!checkLease(ctx, lease, runner)) continue
    const due = leaseDueAt(ctx, lease, runner)
    if (earliest === null || due < earliest) earliest = due
  }
  return earliest
}

function sweepQueue(ctx: PoolContext): number | null {
  for (const { due, runId } of ctx.store.queue.duesUntil(ctx.now, QUEUE_BATCH)) {
    const run = ctx.store.runs.get(runId)
    ctx.store.queue.clearDue(due, runId)
    if (run?.status === 'queued') lookAtWaiting(ctx, run)
  }
  return ctx.store.queue.nextDue()
}

/** A removed runner stays on record until its last lease has ended. */
function sweepRemovedRunners(ctx: PoolContext): void {
  for (const runner of ctx.store.runners.removed()) {
    if (ctx.store.leases.ofRunner(runner.id).length === 0) ctx.store.runners.delete(runner.id)
  }
}

/** When a session must be told to stop or, once told, be given up. */
export function stopDueAt(lease: LeaseRecord): number | null {
  if (lease.stop !== null) return lease.stop.requestedAt + STOP_LIMIT_MS
  if (lease.acceptedAt === null) return null
  const startsBy = lease.runningAt ?? lease.acceptedAt + START_LIMIT_MS
  return startsBy + lease.timeoutMs + TIMEOUT_STOP_DELAY_MS
}
