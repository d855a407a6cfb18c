import {
  FAILURES,
  type FailureCode,
  isTerminal,
  type RunEventType,
  type RunStatus,
  type TerminalStatus,
} from '../../../protocol/run.ts'
import { type PoolContext, wakeBy } from './context.ts'
import { measureLeaving } from './measured.ts'
import type { RunRecord } from './model.ts'

/** How a run changes its state: every change is an event on its way to D1, and a terminal state is the last. */

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
  measureLeaving(ctx, run)
  run.status = status
  run.statusSince = ctx.now
  recordEvent(ctx, run, status, detail)
}

export function fail(
  ctx: PoolContext,
  run: RunRecord,
  status: 'failed' | 'timed_out' | 'lost',
  code: FailureCode,
  message: string,
): void {
  run.failure = { domain: FAILURES[code].domain, code, message }
  finish(ctx, run, status, `${code}: ${message}`)
}

export function finish(ctx: PoolContext, run: RunRecord, status: TerminalStatus, detail: string): void {
  if (isTerminal(run.status)) throw new Error(`run ${run.id} has already ended as ${run.status}`)
  run.finishedAt = ctx.now
  ctx.store.queue.clearDue(run.queueDeadline, run.id)
  ctx.store.runs.eraseEnv(run.id)
  ctx.store.runs.retain(run.id, ctx.now)
  ctx.effects.measured.push({ type: 'run_ended', status, code: run.failure?.code ?? null })
  moveTo(ctx, run, status, detail)
  ctx.store.runs.update(run)
}
