import {
  FAILURES,
  type FailureCode,
  isTerminal,
  type RunEventType,
  type RunStatus,
  type TerminalStatus,
} from '../../../protocol/run.ts'
import type { Exit, StopReason } from '../../../protocol/runner-api.ts'
import { type PoolContext, wakeBy, wakeForLeaseBy } from './context.ts'
import type { LeaseRecord, QueueEntry, RunnerRecord, RunRecord } from './model.ts'
import { anotherRunnerExists } from './placement.ts'

/**
 * The life of one attempt, from its offer to the end it leads to.
 *
 * A run leaves a non-terminal state only here, and every way out deletes the lease row: from then on nothing
 * its runner says about that session finds anything to change. A recorded cancel wins over every other end.
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

/** Events of a busy second go to D1 together. */
const PROJECTION_DELAY_MS = 1_000

export function recordEvent(
  ctx: PoolContext,
  run: RunRecord,
  type: RunEventType,
  detail: string,
  who: { sessionId: string | null; runnerId: string | null } = run,
): void {
  run.version += 1
  ctx.store.outbox.append({
    runId: run.id,
    seq: run.version,
    at: ctx.now,
    type,
    sessionId: who.sessionId,
    runnerId: who.runnerId,
    detail,
  })
  wakeBy(ctx, ctx.now + PROJECTION_DELAY_MS)
}

export function moveTo(ctx: PoolContext, run: RunRecord, status: RunStatus, detail: string): void {
  if (run.status === status) return
  run.status = status
  recordEvent(ctx, run, status, detail)
}

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
  if (code === 'lease_expired') recordEvent(ctx, run, 'lease_expired', message)
  end(ctx, lease, run, { kind: 'failed', code, exitCode: null, message })
}

/** Ends an offer that no listing answered. It counts for nothing but `attempt`. */
export function settleLapse(ctx: PoolContext, lease: LeaseRecord, run: RunRecord): void {
  recordEvent(ctx, run, 'offer_lapsed', 'the runner did not take the offer in time')
  drop(ctx, lease)
  if (run.cancelRequestedAt !== null) return finish(ctx, run, 'cancelled', 'cancelled before it started')
  requeue(ctx, run, 'the offer lapsed')
}

/** Ends an attempt that was told to stop and never answered, as what it was stopped for. */
export function settleStop(ctx: PoolContext, lease: LeaseRecord, run: RunRecord, reason: StopReason): void {
  const message = 'the runner did not end the session when told to'
  switch (reason) {
    case 'timeout':
      return end(ctx, lease, run, { kind: 'timed_out', exitCode: null, message })
    case 'cancelled':
    case 'runner_removed':
      return end(ctx, lease, run, { kind: 'failed', code: 'runner_lost_session', exitCode: null, message })
  }
}

/** Ends an offer the runner was told to drop before it ever listed it: the session never was and never will be. */
export function settleUnstarted(ctx: PoolContext, lease: LeaseRecord, run: RunRecord): void {
  drop(ctx, lease)
  finish(ctx, run, 'cancelled', 'cancelled before it started')
}

/** Ends a run that waited too long. */
export function expireInQueue(ctx: PoolContext, run: RunRecord): void {
  leaveQueue(ctx, run)
  fail(ctx, run, 'failed', 'queue_timeout', `no runner took it in ${run.spec.queueTimeoutSeconds} s`)
}

export function finish(ctx: PoolContext, run: RunRecord, status: TerminalStatus, detail: string): void {
  if (isTerminal(run.status)) throw new Error(`run ${run.id} has already ended as ${run.status}`)
  run.finishedAt = ctx.now
  ctx.store.queue.clearDeadline(run.queueDeadline, run.id)
  ctx.store.runs.eraseEnv(run.id)
  ctx.store.runs.retain(run.id, ctx.now)
  moveTo(ctx, run, status, detail)
  ctx.store.runs.update(run)
}

export function leaveQueue(ctx: PoolContext, run: RunRecord): void {
  if (run.laneId === null) return
  ctx.store.queue.remove({
    laneId: run.laneId,
    priority: run.spec.priority,
    queuedAt: run.queuedAt,
    runId: run.id,
  })
  ctx.store.queue.release(run.laneId, 1)
  run.laneId = null
}

export function joinQueue(ctx: PoolContext, run: RunRecord): void {
  const key = {
    labels: run.spec.labels,
    memoryMb: run.spec.resources.memory_mb ?? 0,
    tried: run.tried,
  }
  run.laneId = ctx.store.queue.push(key, run.spec.priority, run.queuedAt, run.id)
  ctx.store.queue.setDeadline(run.queueDeadline, run.id)
  wakeBy(ctx, run.queueDeadline)
  ctx.effects.joined.add(run.laneId)
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
  drop(ctx, lease)
  run.attemptsSpent += 1
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

function mayRetry(ctx: PoolContext, run: RunRecord, runnerId: string, code: FailureCode): boolean {
  if (run.attemptsSpent >= run.spec.maxAttempts) return false
  switch (FAILURES[code].retry) {
    case 'never':
      return false
    case 'any_runner':
      return true
    case 'other_runner': {
      const barred = run.tried.filter(tried => tried.forbidden)
      return anotherRunnerExists(ctx, {
        labels: run.spec.labels,
        memoryMb: run.spec.resources.memory_mb ?? 0,
        tried: [...barred, { runnerId, forbidden: true }],
      })
    }
  }
}

function retry(
  ctx: PoolContext,
  run: RunRecord,
  runnerId: string,
  outcome: { readonly code: FailureCode; readonly message: string },
): void {
  const forbidden = FAILURES[outcome.code].retry === 'other_runner'
  const others = run.tried.filter(tried => tried.runnerId !== runnerId)
  const before = run.tried.find(tried => tried.runnerId === runnerId)
  run.tried = [...others, { runnerId, forbidden: forbidden || before?.forbidden === true }]
  run.exitCode = null
  run.imageDigest = null
  run.startedAt = null
  ctx.store.queue.clearDeadline(run.queueDeadline, run.id)
  run.queueDeadline = ctx.now + run.spec.queueTimeoutSeconds * 1000
  requeue(ctx, run, `attempt ${run.attempt} failed with ${outcome.code}: ${outcome.message}`)
}

function requeue(ctx: PoolContext, run: RunRecord, why: string): void {
  if (run.queueDeadline <= ctx.now) {
    fail(ctx, run, 'failed', 'queue_timeout', `no runner took it in ${run.spec.queueTimeoutSeconds} s`)
    return
  }
  moveTo(ctx, run, 'queued', why)
  run.sessionId = null
  run.runnerId = null
  joinQueue(ctx, run)
  ctx.store.runs.update(run)
}

function fail(
  ctx: PoolContext,
  run: RunRecord,
  status: 'failed' | 'timed_out' | 'lost',
  code: FailureCode,
  message: string,
): void {
  run.failure = { domain: FAILURES[code].domain, code, message }
  finish(ctx, run, status, `${code}: ${message}`)
}

/** Removes the lease and whatever was still ordered about it. */
function drop(ctx: PoolContext, lease: LeaseRecord): void {
  ctx.store.leases.delete(lease)
  for (const command of ctx.store.commands.ofRunner(lease.runnerId)) {
    if (command.sessionId === lease.sessionId) ctx.store.commands.delete(command)
  }
  if (ctx.store.streams.delete(lease.runnerId, lease.sessionId)) ctx.effects.streamsEnded.add(lease.sessionId)
}
