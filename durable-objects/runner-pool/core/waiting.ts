import { FAILURES, type FailureCode } from '../../../protocol/run.ts'
import { type PoolContext, wakeBy } from './context.ts'
import type { LeaseRecord, RunRecord, Tried } from './model.ts'
import { anotherRunner, demandOf, isRefusedByAll } from './placement.ts'
import { fail, moveTo } from './run-state.ts'

/**
 * How a run comes to wait, and comes back to wait after an attempt.
 *
 * A runner that had the run lets all others have it first, for longer each time: what made the attempt fail may pass,
 * and a short outage must not use up every attempt. The pause ends by itself, so no run waits for another runner
 * that never comes. Only a runner whose policy refused the run never has it again.
 */

const FIRST_PAUSE_MS = 10_000
const PAUSE_GROWTH = 3
const LONGEST_PAUSE_MS = 300_000

interface Loss {
  readonly code: FailureCode
  readonly message: string
}

export function joinQueue(ctx: PoolContext, run: RunRecord): void {
  const { pauses, ...demand } = demandOf(run)
  const open = pauses.filter(pause => pause.until > ctx.now)
  run.laneId = ctx.store.queue.push(
    { ...demand, retried: open.length > 0 },
    { priority: run.spec.priority, queuedAt: run.queuedAt, runId: run.id, pauses: open },
  )
  lookAgainAt(ctx, run, run.queueDeadline)
  ctx.effects.seeking.push({ ...demand, pauses: open })
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

/** Whether another attempt may follow one that was lost to this code. */
export function mayRetry(ctx: PoolContext, run: RunRecord, runnerId: string, code: FailureCode): boolean {
  if (run.attemptsSpent >= run.spec.maxAttempts) return false
  switch (FAILURES[code].retry) {
    case 'never':
      return false
    case 'any_runner':
      return true
    case 'other_runner': {
      const demand = demandOf(run)
      return anotherRunner(ctx, { ...demand, forbidden: [...demand.forbidden, runnerId] }) !== 'none'
    }
  }
}

/** The run waits for its next attempt, with its place in the queue; a spent attempt gives it its whole time again. */
export function retry(ctx: PoolContext, run: RunRecord, runnerId: string, loss: Loss): void {
  const forbidden = FAILURES[loss.code].retry === 'other_runner'
  if (!forbidden) {
    ctx.store.queue.clearDue(run.queueDeadline, run.id)
    run.queueDeadline = ctx.now + run.spec.queueTimeoutSeconds * 1000
  }
  comeBack(ctx, run, runnerId, forbidden, `attempt ${run.attempt} failed with ${loss.code}: ${loss.message}`)
}

/** The run waits again because its runner did not take the offer. */
export function offerAfresh(ctx: PoolContext, run: RunRecord, lease: LeaseRecord): void {
  comeBack(ctx, run, lease.runnerId, false, 'the offer lapsed')
}

/** Looks at a waiting run at one of its due times: its deadline, the end of a pause, a while after a refusal. */
export function lookAtWaiting(ctx: PoolContext, run: RunRecord): void {
  if (run.queueDeadline <= ctx.now) return expireInQueue(ctx, run)
  const demand = demandOf(run)
  if (demand.forbidden.length > 0 && isRefusedByAll(ctx, demand)) {
    leaveQueue(ctx, run)
    return fail(
      ctx,
      run,
      'failed',
      'policy_denied',
      'the policy of every runner that could take it refused it',
    )
  }
  ctx.effects.seeking.push(demand)
}

/** Ends a run that waited too long. */
export function expireInQueue(ctx: PoolContext, run: RunRecord): void {
  leaveQueue(ctx, run)
  fail(ctx, run, 'failed', 'queue_timeout', `no runner took it in ${run.spec.queueTimeoutSeconds} s`)
}

function comeBack(ctx: PoolContext, run: RunRecord, runnerId: string, forbidden: boolean, why: string): void {
  if (run.queueDeadline <= ctx.now) return expireInQueue(ctx, run)
  const tried = pausedAfter(ctx, run, runnerId, forbidden)
  run.tried = [...run.tried.filter(other => other.runnerId !== runnerId), tried]
  lookAgainAt(ctx, run, tried.until)
  run.exitCode = null
  run.imageDigest = null
  run.startedAt = null
  moveTo(ctx, run, 'queued', why)
  run.sessionId = null
  run.runnerId = null
  joinQueue(ctx, run)
  ctx.store.runs.update(run)
}

/** Never longer than half of what the run has left, so that the runner it was on may still have it in time. */
function pausedAfter(ctx: PoolContext, run: RunRecord, runnerId: string, forbidden: boolean): Tried {
  const before = run.tried.find(other => other.runnerId === runnerId)
  const times = (before?.times ?? 0) + 1
  const longest = Math.min(LONGEST_PAUSE_MS, Math.floor((run.queueDeadline - ctx.now) / 2))
  const pauseMs = Math.min(FIRST_PAUSE_MS * PAUSE_GROWTH ** (times - 1), longest)
  return { runnerId, times, until: ctx.now + pauseMs, forbidden: forbidden || before?.forbidden === true }
}

function lookAgainAt(ctx: PoolContext, run: RunRecord, due: number): void {
  ctx.store.queue.setDue(due, run.id)
  wakeBy(ctx, due)
}
