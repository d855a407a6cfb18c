import type { Placement, PlacementReason, WaitingFor } from '../../../protocol/run.ts'
import type { Labels } from '../../../protocol/text.ts'
import type { PoolContext } from './context.ts'
import type { Capacity, Demand, LeaseRecord, Pause, RunnerRecord, RunRecord } from './model.ts'
import { healthOf, isDraining, isOnline } from './presence.ts'

/** A pool may have thousands of runners; an explanation that names this many is enough. */
const CANDIDATE_LIMIT = 200
/** Runners not heard of since the object woke that are worth a row each. */
const UNHEARD_LIMIT = 20

/** What a run asks of the runner that takes it. */
export function demandOf(run: RunRecord): Demand {
  return {
    labels: run.spec.labels,
    memoryMb: run.spec.resources.memory_mb ?? 0,
    forbidden: run.tried.flatMap(tried => (tried.forbidden ? [tried.runnerId] : [])),
    pauses: run.tried.flatMap(({ runnerId, until, forbidden }) => (forbidden ? [] : [{ runnerId, until }])),
  }
}

export function isPaused(pauses: readonly Pause[], runnerId: string, now: number): boolean {
  return pauses.some(pause => pause.runnerId === runnerId && pause.until > now)
}

export function missingLabels(demand: Labels, offered: Labels): string[] {
  return Object.keys(demand).filter(key => demand[key] !== offered[key])
}

/** Memory the runner can still promise: what it last reported, less what is on its way to being used. */
export function memoryLeftMb(
  ctx: PoolContext,
  runner: RunnerRecord,
  leases: readonly LeaseRecord[],
): number | null {
  const health = healthOf(ctx, runner)
  if (health === null) return null
  const promised = leases.filter(lease => lease.runningAt === null)
  return promised.reduce((left, lease) => left - lease.memoryMb, health.memory_free_mb)
}

/** What the runner can still take, given all its leases. */
export function capacityOf(ctx: PoolContext, runner: RunnerRecord, leases: readonly LeaseRecord[]): Capacity {
  return {
    runner,
    freeSlots: runner.slotsMax - leases.length,
    memoryLeftMb: memoryLeftMb(ctx, runner, leases),
  }
}

/**
 * Why this runner must not have the run for a reason that more free slots would not change.
 * Empty: it may. The same function decides assignment and explains it.
 */
export function obstacles(
  ctx: PoolContext,
  demand: Demand,
  runner: RunnerRecord,
  memoryLeft: number | null,
): PlacementReason[] {
  const reasons: PlacementReason[] = missingLabels(demand.labels, runner.labels).map(
    key => `label:${key}` as const,
  )
  if (demand.forbidden.includes(runner.id)) reasons.push('policy')
  if (isPaused(demand.pauses, runner.id, ctx.now)) reasons.push('already_tried')
  if (memoryLeft !== null && demand.memoryMb > memoryLeft) reasons.push('memory')
  if (healthOf(ctx, runner)?.disk_low === true) reasons.push('disk')
  return reasons
}

/**
 * Whether an online runner could take the run, sooner or later.
 *
 * Of whom the object knows since it woke, it is asked in memory. Of the others a handful of the newest is looked at,
 * so that the rows read do not grow with the pool; when there may be more, nobody knows.
 */
export function anotherRunner(ctx: PoolContext, demand: Demand): 'some' | 'none' | 'unknown' {
  const could = (runner: Readonly<RunnerRecord>) =>
    isFit(demand, runner) &&
    !isDraining(runner) &&
    runner.slotsMax > 0 &&
    healthOf(ctx, runner)?.disk_low !== true &&
    isOnline(ctx, runner)
  for (const { runner } of ctx.capacities.values()) if (could(runner)) return 'some'
  const newest = ctx.store.runners.pageBackwards(null, UNHEARD_LIMIT)
  if (newest.some(runner => !ctx.capacities.has(runner.id) && could(runner))) return 'some'
  return newest.length < UNHEARD_LIMIT ? 'none' : 'unknown'
}

/** Whether no runner of the pool, online or not, is left to take the run. Reads them all, so it is for the alarm only. */
export function isRefusedByAll(ctx: PoolContext, demand: Demand): boolean {
  for (const runner of ctx.store.runners.all()) if (isFit(demand, runner)) return false
  return true
}

/** Whether the runner is made for such runs and has not refused this one. */
function isFit(demand: Demand, runner: Readonly<RunnerRecord>): boolean {
  return (
    !demand.forbidden.includes(runner.id) &&
    runner.platform.memory_mb >= demand.memoryMb &&
    missingLabels(demand.labels, runner.labels).length === 0
  )
}

/**
 * Explains a waiting run runner by runner; `waiting_for` names the nearest thing that would help. Null: nothing is
 * missing, the next sync of an eligible runner takes the run.
 */
export function explain(ctx: PoolContext, run: RunRecord): Placement {
  if (run.status !== 'queued') return { waiting_for: null, candidates: [] }
  const demand = demandOf(run)
  const candidates: Placement['candidates'] = []
  for (const runner of ctx.store.runners.all()) {
    if (candidates.length === CANDIDATE_LIMIT) break
    const leases = ctx.store.leases.ofRunner(runner.id)
    const reasons = obstacles(ctx, demand, runner, memoryLeftMb(ctx, runner, leases))
    if (!isOnline(ctx, runner)) reasons.push('offline')
    if (isDraining(runner)) reasons.push('draining')
    if (ctx.pool.state === 'draining' || !ctx.offersAllowed) reasons.push('pool_draining')
    if (leases.length >= runner.slotsMax) reasons.push('no_slot')
    candidates.push({ runner_id: runner.id, name: runner.name, eligible: reasons.length === 0, reasons })
  }
  return { waiting_for: nearestHelp(ctx, candidates), candidates }
}

/**
 * Candidates are narrowed step by step, most lasting obstacle first; the step that leaves none names
 * what the run waits for.
 */
function nearestHelp(ctx: PoolContext, candidates: Placement['candidates']): WaitingFor | null {
  if (candidates.length === 0) return 'runner'
  const steps: readonly [WaitingFor, (reason: PlacementReason) => boolean][] = [
    ['label', reason => reason.startsWith('label:')],
    ['runner', reason => ['policy', 'offline', 'already_tried', 'protocol'].includes(reason)],
    ['resume', reason => reason === 'draining' || reason === 'pool_draining'],
    ['memory', reason => reason === 'memory' || reason === 'disk'],
    ['slot', reason => reason === 'no_slot'],
  ]
  if (ctx.pool.state === 'draining' || !ctx.offersAllowed) return 'resume'
  if (candidates.some(candidate => candidate.eligible)) return null
  let left = candidates
  for (const [waitingFor, blocks] of steps) {
    left = left.filter(candidate => !candidate.reasons.some(blocks))
    if (left.length === 0) return waitingFor
  }
  return null
}
