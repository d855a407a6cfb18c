import { takesWork } from './assignment.ts'
import type { PoolContext } from './context.ts'
import type { LaneRecord } from './model.ts'
import { memoryLeftMb, obstacles } from './placement.ts'

/**
 * Whom to ring when runs wait. A ring carries no state and promises nothing: the sync it causes takes what
 * it can get. Enough runners are rung to take all that waits, one that does not answer within
 * `RING_ANSWER_MS` gives its turn to the next, and one that never answers is not waited for again.
 */
export const RING_ANSWER_MS = 2_000
/** A socket that swallowed this many rings in a row is as good as gone; the runner dials again if it lives. */
export const RING_GIVE_UP = 3

export interface Bell {
  /** Null: not rung since its runner's last sync. */
  readonly rungAt: number | null
  /** Rings in a row that no sync followed. */
  readonly unanswered: number
}

interface RingPlan {
  readonly ring: string[]
  /** Sockets to close. */
  readonly giveUp: string[]
  /** When to plan again if no sync comes, or null when nothing waits for an answer. */
  readonly checkAt: number | null
}

/**
 * @param bells every runner with an open doorbell
 * @param lanes what runs wait in, or as much of it as one plan should look at
 */
export function planRings(
  ctx: PoolContext,
  bells: ReadonlyMap<string, Bell>,
  lanes: readonly LaneRecord[],
): RingPlan {
  const ring: string[] = []
  const uncovered = new Map(lanes.map(lane => [lane.id, lane.queued]))
  const waiting = (bell: Bell) => bell.rungAt !== null && ctx.now - bell.rungAt < RING_ANSWER_MS
  const giveUp = [...bells]
    .filter(([, bell]) => bell.unanswered >= RING_GIVE_UP && !waiting(bell))
    .map(([runnerId]) => runnerId)
  let checkAt: number | null = null
  // Those already rung and still in time come first: their free slots count as taken.
  const inTurn = [...bells]
    .filter(([runnerId]) => !giveUp.includes(runnerId))
    .sort(([, a], [, b]) => Number(waiting(b)) - Number(waiting(a)) || (a.rungAt ?? 0) - (b.rungAt ?? 0))
  for (const [runnerId, bell] of inTurn) {
    if ([...uncovered.values()].every(count => count <= 0)) break
    const taken = cover(ctx, runnerId, lanes, uncovered)
    if (taken === 0) continue
    if (!waiting(bell)) ring.push(runnerId)
    const due = (waiting(bell) ? (bell.rungAt ?? ctx.now) : ctx.now) + RING_ANSWER_MS
    checkAt = Math.min(checkAt ?? due, due)
  }
  return { ring, giveUp, checkAt }
}

/** Takes the runs this runner could take off `uncovered`. @returns how many */
function cover(
  ctx: PoolContext,
  runnerId: string,
  lanes: readonly LaneRecord[],
  uncovered: Map<number, number>,
): number {
  // Known to be full: not worth a row. After hibernation nobody knows, so the row is read.
  if (ctx.memos.get(runnerId)?.free === 0) return 0
  const runner = ctx.store.runners.get(runnerId)
  if (runner === null || !takesWork(ctx, runner)) return 0
  const leases = ctx.store.leases.ofRunner(runnerId)
  const memoryLeft = memoryLeftMb(ctx, runner, leases)
  let free = runner.slotsMax - leases.length
  let taken = 0
  for (const lane of lanes) {
    const left = uncovered.get(lane.id) ?? 0
    if (left <= 0 || free <= 0 || obstacles(ctx, lane, runner, memoryLeft).length > 0) continue
    const count = Math.min(left, free)
    uncovered.set(lane.id, left - count)
    free -= count
    taken += count
  }
  return taken
}
