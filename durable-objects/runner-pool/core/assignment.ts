import type { PoolContext } from './context.ts'
import type { LaneRecord, LeaseRecord, QueueEntry, RunnerRecord } from './model.ts'
import { isPaused, memoryLeftMb, obstacles } from './placement.ts'
import { isDraining } from './presence.ts'

/**
 * A runner skips the runs that it must let others have first. Of those it looks past so many; what is behind them it
 * reaches as their pauses end, five minutes at the most.
 */
export const PAUSED_LOOK = 16

/**
 * Who gets a lease. Higher priority first, then older first, over all lanes the runner can serve.
 *
 * Reads a bounded number of entries of each lane, whatever the queue's length: the best `slots` runs of the
 * whole queue are among the best `slots` of every lane.
 */
export function assign(
  ctx: PoolContext,
  runner: RunnerRecord,
  leases: readonly LeaseRecord[],
  slots: number,
): QueueEntry[] {
  if (slots <= 0 || !takesWork(ctx, runner)) return []
  let memoryLeft = memoryLeftMb(ctx, runner, leases)
  const lanes = ctx.store.queue
    .lanesFor(runner.labels, memoryLeft)
    .filter(lane => obstacles(ctx, { ...lane, pauses: [] }, runner, memoryLeft).length === 0)
  const byLane = new Map(lanes.map(lane => [lane.id, lane]))
  const heads = lanes.flatMap(lane => headsFor(ctx, runner, lane, slots)).sort(moreUrgent)
  const chosen: QueueEntry[] = []
  for (const entry of heads) {
    if (chosen.length === slots) break
    const need = byLane.get(entry.laneId)?.memoryMb ?? 0
    if (memoryLeft !== null && need > memoryLeft) continue
    if (memoryLeft !== null) memoryLeft -= need
    chosen.push(entry)
  }
  releaseLanes(ctx, byLane, chosen)
  return chosen
}

/** Whether a runner may be given anything new at all. */
export function takesWork(ctx: PoolContext, runner: Readonly<RunnerRecord>): boolean {
  return ctx.offersAllowed && ctx.pool.state === 'active' && !runner.left && !isDraining(runner)
}

function headsFor(ctx: PoolContext, runner: RunnerRecord, lane: LaneRecord, slots: number): QueueEntry[] {
  if (!lane.retried) return ctx.store.queue.heads(lane.id, slots)
  return ctx.store.queue
    .heads(lane.id, slots + PAUSED_LOOK)
    .filter(entry => !isPaused(entry.pauses, runner.id, ctx.now))
    .slice(0, slots)
}

function moreUrgent(a: QueueEntry, b: QueueEntry): number {
  if (a.priority !== b.priority) return b.priority - a.priority
  if (a.queuedAt !== b.queuedAt) return a.queuedAt - b.queuedAt
  return a.runId < b.runId ? -1 : 1
}

function releaseLanes(
  ctx: PoolContext,
  lanes: ReadonlyMap<number, LaneRecord>,
  chosen: readonly QueueEntry[],
): void {
  for (const lane of lanes.values()) {
    const count = chosen.filter(entry => entry.laneId === lane.id).length
    if (count > 0) ctx.store.queue.release(lane, count)
  }
}
