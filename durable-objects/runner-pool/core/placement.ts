import type { Placement, PlacementReason, WaitingFor } from '../../../protocol/run.ts'
import type { Labels } from '../../../protocol/text.ts'
import type { PoolContext } from './context.ts'
import type { LeaseRecord, RunnerRecord, RunRecord, Tried } from './model.ts'
import { healthOf, isDraining, isOnline } from './presence.ts'

/** A pool may have thousands of runners; an explanation that names this many is enough. */
const CANDIDATE_LIMIT = 200
/** Runners not heard of since the object woke that are worth a row each. */
const UNHEARD_LIMIT = 20

/** What decides whether a runner may take a waiting run. */
export interface Demand {
  readonly labels: Labels
  readonly memoryMb: number
  readonly tried: readonly Tried[]
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
  const tried = demand.tried.find(entry => entry.runnerId === runner.id)
  if (tried?.forbidden) reasons.push('policy')
  else if (tried !== undefined && anotherRunnerExists(ctx, demand)) {
    reasons.push('already_tried')
  }
  if (memoryLeft !== null && demand.memoryMb > memoryLeft) reasons.push('memory')
  if (healthOf(ctx, runner)?.disk_low === true) reasons.push('disk')
  return reasons
}

/**
 * Whether an online runner could take the run, sooner or later, that has not had it yet.
 *
 * Whoever synced since the object woke is known from memory. Of the others a handful of the newest is looked at, so
 * that the rows read do not grow with the pool: right after a wake-up a run may return to the runner it was on.
 */
export function anotherRunnerExists(ctx: PoolContext, demand: Demand): boolean {
  const had = new Set(demand.tried.map(entry => entry.runnerId))
  const could = (runner: Readonly<RunnerRecord>) =>
    !had.has(runner.id) &&
    !isDraining(runner) &&
    runner.slotsMax > 0 &&
    runner.platform.memory_mb >= demand.memoryMb &&
    healthOf(ctx, runner)?.disk_low !== true &&
    missingLabels(demand.labels, runner.labels).length === 0 &&
    isOnline(ctx, runner)
  for (const { runner } of ctx.memos.values()) if (could(runner)) return true
  return ctx.store.runners
    .pageBackwards(null, UNHEARD_LIMIT)
    .some(runner => !ctx.memos.has(runner.id) && could(runner))
}

/** Explains a waiting run runner by runner; `waiting_for` names the nearest thing that would help. */
export function explain(ctx: PoolContext, run: RunRecord): Placement {
  if (run.status !== 'queued') return { waiting_for: null, candidates: [] }
  const demand: Demand = {
    labels: run.spec.labels,
    memoryMb: run.spec.resources.memory_mb ?? 0,
    tried: run.tried,
  }
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
function nearestHelp(ctx: PoolContext, candidates: Placement['candidates']): WaitingFor {
  if (candidates.length === 0) return 'runner'
  const steps: readonly [WaitingFor, (reason: PlacementReason) => boolean][] = [
    ['label', reason => reason.startsWith('label:')],
    ['runner', reason => ['policy', 'offline', 'already_tried', 'protocol'].includes(reason)],
    ['resume', reason => reason === 'draining' || reason === 'pool_draining'],
    ['memory', reason => reason === 'memory' || reason === 'disk'],
    ['slot', reason => reason === 'no_slot'],
  ]
  if (ctx.pool.state === 'draining' || !ctx.offersAllowed) return 'resume'
  let left = candidates
  for (const [waitingFor, blocks] of steps) {
    left = left.filter(candidate => !candidate.reasons.some(blocks))
    if (left.length === 0) return waitingFor
  }
  return 'runner'
}
