import { accepted, type Result, refused } from '../../../protocol/errors.ts'
import { isTerminal, type Run } from '../../../protocol/run.ts'
import { timestamp, timestampOrNull } from '../../../protocol/text.ts'
import type { NewRun } from '../rpc.ts'
import type { PoolContext } from './context.ts'
import { checkLease, requestStop } from './expiry.ts'
import type { RunRecord } from './model.ts'
import { finish, moveTo, recordEvent } from './run-state.ts'
import { expireInQueue, joinQueue, leaveQueue } from './waiting.ts'

/** What an admin does to a run. */

export function enqueue(ctx: PoolContext, input: NewRun): { run: RunRecord; created: boolean } {
  const existing = ctx.store.runs.get(input.run_id)
  if (existing !== null) return { run: existing, created: false }
  const run = newRecord(ctx, input)
  joinQueue(ctx, run)
  recordEvent(ctx, run, 'queued', 'waiting for a runner')
  ctx.store.runs.insert(run, input.env)
  return { run, created: true }
}

/**
 * Idempotent, also on a run that has ended. A waiting run ends here; of any other the runner is told, and
 * from here on no end but `cancelled` is recorded.
 */
export function cancel(ctx: PoolContext, runId: string): Result<RunRecord> {
  const run = readRun(ctx, runId)
  if (run === null) return refused('not_found', 'no such run')
  if (isTerminal(run.status) || run.cancelRequestedAt !== null) return accepted(run)
  run.cancelRequestedAt = ctx.now
  if (run.status === 'queued') {
    leaveQueue(ctx, run)
    finish(ctx, run, 'cancelled', 'cancelled while it waited')
    return accepted(run)
  }
  const lease = liveLease(ctx, run)
  if (lease === null) throw new Error(`run ${run.id} is ${run.status} without a lease`)
  if (lease.stop === null) requestStop(ctx, lease, 'cancelled')
  moveTo(ctx, run, 'stopping', 'cancelled; the runner is told to stop it')
  ctx.store.runs.update(run)
  return accepted(run)
}

/** The run as of now: what its time is over for has ended, whether or not the alarm has come. */
export function readRun(ctx: PoolContext, runId: string): RunRecord | null {
  const run = ctx.store.runs.get(runId)
  if (run?.status === 'queued' && run.queueDeadline <= ctx.now) expireInQueue(ctx, run)
  if (run === null || run.runnerId === null || isTerminal(run.status)) return run
  const lease = liveLease(ctx, run)
  const runner = ctx.store.runners.get(run.runnerId)
  if (lease === null || runner === null) return run
  checkLease(ctx, lease, runner)
  return ctx.store.runs.get(runId)
}

function liveLease(ctx: PoolContext, run: RunRecord) {
  if (run.runnerId === null || run.sessionId === null) return null
  return ctx.store.leases.get(run.runnerId, run.sessionId)
}

export function toRun(poolId: string, run: RunRecord, stream: Run['stream'] = unwatched(run)): Run {
  const { spec } = run
  return {
    id: run.id,
    environment_id: spec.environmentId,
    pool_id: poolId,
    status: run.status,
    attempt: run.attempt,
    session_id: run.sessionId,
    runner_id: run.runnerId,
    image: spec.image,
    image_digest: run.imageDigest,
    command: spec.command === null ? null : [...spec.command],
    priority: spec.priority,
    labels: { ...spec.labels },
    timeout_seconds: spec.timeoutSeconds,
    queue_timeout_seconds: spec.queueTimeoutSeconds,
    max_attempts: spec.maxAttempts,
    resources: spec.resources,
    queued_at: timestamp(run.queuedAt),
    started_at: timestampOrNull(run.startedAt),
    finished_at: timestampOrNull(run.finishedAt),
    exit_code: run.exitCode,
    failure: run.failure,
    stream,
    metadata: { ...spec.metadata },
  }
}

function unwatched(run: RunRecord): Run['stream'] {
  return { transport: 'relay', state: isTerminal(run.status) ? 'ended' : 'off', viewers: 0 }
}

function newRecord(ctx: PoolContext, input: NewRun): RunRecord {
  return {
    id: input.run_id,
    spec: {
      environmentId: input.environment_id,
      image: input.image,
      command: input.command,
      timeoutSeconds: input.timeout_seconds,
      queueTimeoutSeconds: input.queue_timeout_seconds,
      priority: input.priority,
      labels: input.labels,
      resources: input.resources,
      stream: input.stream,
      maxAttempts: input.max_attempts,
      metadata: input.metadata,
      traceparent: input.traceparent,
    },
    status: 'queued',
    statusSince: ctx.now,
    version: 0,
    attempt: 0,
    attemptsSpent: 0,
    tried: [],
    laneId: null,
    sessionId: null,
    runnerId: null,
    imageDigest: null,
    queuedAt: ctx.now,
    queueDeadline: ctx.now + input.queue_timeout_seconds * 1000,
    startedAt: null,
    finishedAt: null,
    exitCode: null,
    failure: null,
    cancelRequestedAt: null,
  }
}
