import {
  type LeaseReport,
  SESSION_STATES,
  type SyncRequest,
  type Verdict,
} from '../../../protocol/runner-api.ts'
import { settleExit, settleLoss, settleUnstarted } from './attempt.ts'
import { type PoolContext, wakeForLeaseBy } from './context.ts'
import { stopDueAt } from './expiry.ts'
import {
  type LeaseRecord,
  type LeaseState,
  MISSING_NOT_COUNTED,
  type RunnerRecord,
  type RunRecord,
} from './model.ts'
import { moveTo, recordEvent } from './run-state.ts'

/**
 * What a runner's listing does to its leases.
 *
 * A listed live lease is kept and renewed; it moves only forward. A lease the listing leaves out is not
 * renewed, and only two complete inventories in a row that leave it out say that it is gone.
 */

/** Complete inventories in a row without a session before it counts as lost: one may cross with its start. */
const MISSING_LIMIT = 2

export interface Reported {
  readonly verdicts: { session_id: string; verdict: Verdict }[]
  /** The runner's leases that are live after its reports. */
  readonly live: LeaseRecord[]
  /** Whether any lease was renewed. */
  readonly renewed: boolean
}

export function applyReports(
  ctx: PoolContext,
  runner: RunnerRecord,
  held: readonly LeaseRecord[],
  request: SyncRequest,
): Reported {
  const reports = new Map(request.leases.map(report => [report.session_id, report]))
  const acked = applyAcks(ctx, runner, request.acks)
  const live = held.filter(lease => {
    const report = reports.get(lease.sessionId)
    if (report === undefined) return keepUnlisted(ctx, runner, lease, request, acked)
    return keepListed(ctx, lease, report)
  })
  const alive = new Set(live.map(lease => lease.sessionId))
  return {
    live,
    renewed: request.leases.some(report => alive.has(report.session_id)),
    verdicts: request.leases.map(report => ({
      session_id: report.session_id,
      verdict: alive.has(report.session_id) ? 'keep' : report.state === 'exited' ? 'forget' : 'stop',
    })),
  }
}

/** @returns the sessions whose stop the runner says is done */
function applyAcks(ctx: PoolContext, runner: RunnerRecord, acks: readonly string[]): ReadonlySet<string> {
  const stopped = new Set<string>()
  if (acks.length === 0) return stopped
  for (const command of ctx.store.commands.ofRunner(runner.id)) {
    if (!acks.includes(command.id)) continue
    ctx.store.commands.delete(command)
    if (command.type === 'stop_session') stopped.add(command.sessionId)
  }
  return stopped
}

/** @returns whether the lease is still live */
function keepListed(ctx: PoolContext, lease: LeaseRecord, report: LeaseReport): boolean {
  const run = runOf(ctx, lease)
  const runVersion = run.version
  const digestIsNews = report.image_digest !== undefined && run.imageDigest !== report.image_digest
  if (report.image_digest !== undefined) run.imageDigest = report.image_digest
  recordNotices(ctx, lease, run, report)
  if (report.state === 'exited') {
    if (report.exit === undefined) throw new Error('the schema lets no exited session in without its exit')
    // It may be over before any sync saw it running; it still ran.
    if (report.started_at !== undefined) {
      run.startedAt ??= reportedTime(ctx, report.started_at, lease.offeredAt)
    }
    settleExit(ctx, lease, run, report.exit)
    return false
  }
  const before = JSON.stringify(lease)
  lease.frozenUntil = null
  lease.missing = 0
  lease.acceptedAt ??= ctx.now
  if (isForward(lease.state, report.state)) advance(ctx, lease, run, report.state, report)
  if (before !== JSON.stringify(lease)) ctx.store.leases.update(lease)
  if (digestIsNews || run.version !== runVersion) ctx.store.runs.update(run)
  return true
}

/** @returns whether the lease is still live */
function keepUnlisted(
  ctx: PoolContext,
  runner: RunnerRecord,
  lease: LeaseRecord,
  request: SyncRequest,
  acked: ReadonlySet<string>,
): boolean {
  if (lease.state === 'offered') {
    // The runner says the session has ended without ever listing it: it never began and now never will.
    if (lease.stop === null || !acked.has(lease.sessionId)) return true
    settleUnstarted(ctx, lease, runOf(ctx, lease))
    return false
  }
  const before = JSON.stringify(lease)
  lease.frozenUntil ??= runner.renewedAt + runner.holdMs
  const counts = request.inventory === 'complete' && lease.missing !== MISSING_NOT_COUNTED
  if (counts) lease.missing += 1
  if (lease.missing >= MISSING_LIMIT) {
    settleLoss(ctx, lease, runOf(ctx, lease), 'runner_lost_session')
    return false
  }
  if (before !== JSON.stringify(lease)) ctx.store.leases.update(lease)
  return true
}

function advance(
  ctx: PoolContext,
  lease: LeaseRecord,
  run: RunRecord,
  to: Exclude<LeaseState, 'offered'>,
  report: LeaseReport,
): void {
  lease.state = to
  if (to === 'running' || to === 'stopping') {
    lease.runningAt ??= ctx.now
    run.startedAt ??= reportedTime(ctx, report.started_at, lease.offeredAt)
  }
  const stopDue = stopDueAt(lease)
  if (stopDue !== null) wakeForLeaseBy(ctx, stopDue)
  // A stop that was asked for stays visible until the end, whatever the runner is still doing.
  if (run.status === 'stopping') return
  if (to === 'running') moveTo(ctx, run, 'running', 'the container is running')
  else if (to === 'stopping') moveTo(ctx, run, 'stopping', 'the runner is ending it')
  else if (run.status === 'offered') moveTo(ctx, run, 'starting', `the runner is ${verb(to)}`)
}

function verb(state: 'accepted' | 'pulling' | 'starting'): string {
  return { accepted: 'taking it', pulling: 'pulling the image', starting: 'starting the container' }[state]
}

/** The runner's clock is its own; what it says must at least fit between the offer and now. */
function reportedTime(ctx: PoolContext, said: string | undefined, notBefore: number): number {
  if (said === undefined) return ctx.now
  return Math.min(Math.max(Date.parse(said), notBefore), ctx.now)
}

function isForward(from: LeaseState, to: LeaseReport['state']): to is Exclude<LeaseState, 'offered'> {
  if (to === 'exited') return false
  return from === 'offered' || SESSION_STATES.indexOf(to) > SESSION_STATES.indexOf(from)
}

function recordNotices(ctx: PoolContext, lease: LeaseRecord, run: RunRecord, report: LeaseReport): void {
  for (const notice of report.notices ?? []) {
    if (lease.notices.includes(notice)) continue
    // It is kept no longer than it takes to end it.
    if (notice === 'adopted' && lease.stop !== null) continue
    lease.notices = [...lease.notices, notice]
    const detail = {
      adopted: 'a restarted runner found the session and kept it',
      memory_pressure: 'a process of the session was killed for memory',
    }[notice]
    recordEvent(ctx, run, notice, detail)
    ctx.store.leases.update(lease)
  }
}

function runOf(ctx: PoolContext, lease: LeaseRecord): RunRecord {
  const run = ctx.store.runs.get(lease.runId)
  if (run === null) throw new Error(`lease ${lease.sessionId} has no run`)
  return run
}
