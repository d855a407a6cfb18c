import { FAILURES, type FailureCode } from '../../../protocol/run.ts'
import type { Exit, StopReason } from '../../../protocol/runner-api.ts'
import { type PoolContext, wakeForLeaseBy } from './context.ts'
import type { LeaseRecord, QueueEntry, RunnerRecord, RunRecord } from './model.ts'
import { fail, finish, moveTo, recordEvent } from './run-state.ts'
import { endStream } from './streams.ts'
import { expireInQueue, mayRetry, offerAfresh, retry } from './waiting.ts'

/**
 * The life of one attempt, from its offer to the end it leads to.
 *
 * Every way out of it deletes the lease row: from then on nothing its runner says about that session finds anything
 * to change. A recorded cancel wins over every other end.
 */

type Outcome =
  | { readonly kind: 'succeeded'; readonly exitCode: number }
  | { readonly kind: 'timed_out'; readonly exitCode: number | null; readonly message: string }
  | {
      readonly kind: 'failed'
      readonly code: FailureCode
      readonly exitCode: number | null
      readonly message: string
    }

/** At the end of its attempts a run whose runner vanished is `lost`: nobody knows how it would have ended. */
const LOST_CODES: readonly FailureCode[] = ['runner_lost_session', 'lease_expired', 'runner_removed']

/**
 * Gives a waiting run that `assign` has chosen, as a new session, to the runner.
 * @returns null when the run's time in the queue was over, which ends it
 */
export function offer(
  ctx: PoolContext,
  entry: QueueEntry,
  runner: RunnerRecord,
): { lease: LeaseRecord; run: RunRecord } | null {
  const run = ctx.store.runs.get(entry.runId)
  if (run === null) throw new Error(`queued run ${entry.runId} has no record`)
  ctx.store.queue.remove(entry)
  run.laneId = null
  if (run.queueDeadline <= ctx.now) {
    expireInQueue(ctx, run)
    return null
  }
  const lease: LeaseRecord = {
    runnerId: runner.id,
    sessionId: ctx.mintId('session'),
    runId: run.id,
    state: 'offered',
    offeredAt: ctx.now,
    offerEndsAt: ctx.now + ctx.rules.offerTtlMs,
    acceptedAt: null,
    runningAt: null,
    frozenUntil: null,
    missing: 0,
    stop: null,
    notices: [],
    timeoutMs: run.spec.timeoutSeconds * 1000,
    memoryMb: run.spec.resources.memory_mb ?? 0,
  }
  ctx.store.leases.insert(lease)
  wakeForLeaseBy(ctx, lease.offerEndsAt + ctx.rules.leaseGraceMs)
  if (run.attempt === 0) ctx.effects.measured.push({ type: 'picked_up', afterMs: ctx.now - run.queuedAt })
  run.attempt += 1
  run.sessionId = lease.sessionId
  run.runnerId = runner.id
  moveTo(ctx, run, 'offered', `offered to ${runner.name} as attempt ${run.attempt}`)
  ctx.store.runs.update(run)
  return { lease, run }
}

/** Ends the attempt by the runner's own exit report. */
export function settleExit(ctx: PoolContext, lease: LeaseRecord, run: RunRecord, exit: Exit): void {
  ctx.store.endedSessions.add(lease.runnerId, lease.sessionId, run.id, ctx.now)
  end(ctx, lease, run, judge(exit, lease))
}

/** Ends the attempt without the runner's word. */
export function settleLoss(
  ctx: PoolContext,
  lease: LeaseRecord,
  run: RunRecord,
  code: 'lease_expired' | 'runner_lost_session' | 'runner_removed',
): void {
  const message = {
    lease_expired: 'the runner stopped renewing its lease: it is down, cut off or too slow',
    runner_lost_session: 'the runner no longer has the session',
    runner_removed: 'the runner was removed from the pool',
  }[code]
  if (code === 'lease_expired') {
    recordEvent(ctx, run, 'lease_expired', message)
    ctx.effects.measured.push({ type: 'lease_expired' })
  }
  end(ctx, lease, run, { kind: 'failed', code, exitCode: null, message })
}

/** Ends an offer that no listing answered. It spends no attempt, but others may have the run before this runner. */
export function settleLapse(ctx: PoolContext, lease: LeaseRecord, run: RunRecord): void {
  recordEvent(ctx, run, 'offer_lapsed', 'the runner did not take the offer in time')
  drop(ctx, lease)
  if (run.cancelRequestedAt !== null) return finish(ctx, run, 'cancelled', 'cancelled before it started')
  offerAfresh(ctx, run, lease)
}

/** Ends an attempt that was told to stop and never answered, as what it was stopped for. */
export function settleStop(ctx: PoolContext, lease: LeaseRecord, run: RunRecord, reason: StopReason): void {
  const message = 'the runner did not end the session when told to'
  switch (reason) {
    case 'timeout':
      return end(ctx, lease, run, { kind: 'timed_out', exitCode: null, message })
    case 'cancelled':
      return end(ctx, lease, run, { kind: 'failed', code: 'runner_lost_session', exitCode: null, message })
  }
}

/** Ends an offer the runner was told to drop before it ever listed it: the session never was and never will be. */
export function settleUnstarted(ctx: PoolContext, lease: LeaseRecord, run: RunRecord): void {
  drop(ctx, lease)
  finish(ctx, run, 'cancelled', 'cancelled before it started')
}

function judge(exit: Exit, lease: LeaseRecord): Outcome {
  const message = exit.message ?? ''
  const failed = (code: FailureCode, said: string): Outcome => ({
    kind: 'failed',
    code,
    exitCode: exit.code,
    message: message === '' ? said : message,
  })
  switch (exit.reason) {
    case 'exited':
      if (exit.code === 0) return { kind: 'succeeded', exitCode: 0 }
      if (exit.code === null) return failed('engine_error', 'the exit code is not known')
      return failed('non_zero_exit', `the command exited with code ${exit.code}`)
    case 'timed_out':
      return { kind: 'timed_out', exitCode: exit.code, message }
    case 'stopped':
      if (lease.stop?.reason === 'timeout') return { kind: 'timed_out', exitCode: exit.code, message }
      return failed('runner_lost_session', 'the runner stopped the session')
    case 'oom':
    case 'command_not_found':
    case 'image_not_found':
    case 'image_auth':
    case 'pull_failed':
    case 'network_unreachable':
    case 'engine_error':
    case 'disk_full':
    case 'policy_denied':
      return failed(exit.reason, `the runner reported ${exit.reason}`)
  }
}

function end(ctx: PoolContext, lease: LeaseRecord, run: RunRecord, outcome: Outcome): void {
  endStream(ctx, lease, run)
  drop(ctx, lease)
  if (!isRefusal(outcome)) run.attemptsSpent += 1
  run.exitCode = outcome.exitCode
  if (run.cancelRequestedAt !== null) return finish(ctx, run, 'cancelled', 'cancelled')
  switch (outcome.kind) {
    case 'succeeded':
      return finish(ctx, run, 'succeeded', 'the command exited with code 0')
    case 'timed_out': {
      const message = outcome.message || `it ran longer than ${run.spec.timeoutSeconds} s`
      return fail(ctx, run, 'timed_out', 'timeout', message)
    }
    case 'failed':
      if (mayRetry(ctx, run, lease.runnerId, outcome.code)) return retry(ctx, run, lease.runnerId, outcome)
      return fail(
        ctx,
        run,
        LOST_CODES.includes(outcome.code) ? 'lost' : 'failed',
        outcome.code,
        outcome.message,
      )
  }
}

/** The runner has not tried: whether another will is a matter of its policy, not of luck. */
function isRefusal(outcome: Outcome): boolean {
  return outcome.kind === 'failed' && FAILURES[outcome.code].retry === 'other_runner'
}

/** Removes the lease and whatever was still ordered about it. */
function drop(ctx: PoolContext, lease: LeaseRecord): void {
  ctx.store.leases.delete(lease)
  for (const command of ctx.store.commands.ofRunner(lease.runnerId)) {
    if (command.sessionId === lease.sessionId) ctx.store.commands.delete(command)
  }
  if (ctx.store.streams.delete(lease.runnerId, lease.sessionId)) ctx.effects.streamsEnded.add(lease.sessionId)
}
