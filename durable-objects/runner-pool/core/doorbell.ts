import { PAUSED_LOOK, takesWork } from './assignment.ts'
import type { PoolContext } from './context.ts'
import type { Capacity, Demand, LaneRecord } from './model.ts'
import { capacityOf, obstacles } from './placement.ts'

/**
 * Whom to ring when runs wait. A ring carries no state and promises nothing: the sync it causes takes what
 * it can get. Enough runners are rung to take all that waits, one that does not answer within
 * `RING_ANSWER_MS` gives its turn to the next, and one that never answers is not waited for again.
 *
 * What a runner could take is known from its last sync. Rows are read only of those that have not synced since the
 * object woke, once each and a few per plan, so that a plan costs the same however many doorbells there are.
 */
export const RING_ANSWER_MS = 2_000
/** A socket that swallowed this many rings in a row is as good as gone; the runner dials again if it lives. */
export const RING_GIVE_UP = 3
/** Runners that one plan reads the rows of; the next plan follows at once where that was not enough. */
export const LOOKS_PER_PLAN = 16
/** Runs of `retried` lanes that one plan looks at. */
const RETRIED_PER_PLAN = 256

export interface Bell {
  /** Null: not rung since its runner's last sync. */
  readonly rungAt: number | null
  /** Rings in a row that no sync followed. */
  readonly unanswered: number
  /** How many of the runs that wait it was rung for. */
  readonly promised: number
}

/** Waiting runs of one kind. */
export interface Need {
  readonly demand: Demand
  readonly count: number
}

interface RingPlan {
  readonly ring: string[]
  /** How many runs each runner is to come for, of those rung now or before. */
  readonly promised: ReadonlyMap<string, number>
  /** Sockets to close. */
  readonly giveUp: string[]
  /** When to plan again if no sync comes, or null when nothing waits for an answer. */
  readonly checkAt: number | null
}

/** What waits in these lanes, or as much of it as one plan should look at. */
export function needsOf(ctx: PoolContext, lanes: readonly LaneRecord[]): Need[] {
  let looks = RETRIED_PER_PLAN
  return lanes.flatMap(lane => {
    if (!lane.retried) return { demand: { ...lane, pauses: [] }, count: lane.queued }
    const heads = looks > 0 ? ctx.store.queue.heads(lane.id, Math.min(looks, PAUSED_LOOK)) : []
    looks -= heads.length
    return heads.map(({ pauses }) => ({ demand: { ...lane, pauses }, count: 1 }))
  })
}

/**
 * @param bells every runner with an open doorbell
 * @param scope `new`: what runners were rung for before waits beside these needs. `all`: it is among them
 */
export function planRings(
  ctx: PoolContext,
  bells: ReadonlyMap<string, Bell>,
  needs: readonly Need[],
  scope: 'new' | 'all',
): RingPlan {
  const waiting = (bell: Bell) => bell.rungAt !== null && ctx.now - bell.rungAt < RING_ANSWER_MS
  const givenUp = ([, bell]: [string, Bell]) => bell.unanswered >= RING_GIVE_UP && !waiting(bell)
  const giveUp = [...bells].filter(givenUp).map(([runnerId]) => runnerId)
  const ring: string[] = []
  const promised = new Map<string, number>()
  const open = needs.map(({ demand, count }) => ({ demand, count }))
  const glance = glancing(ctx)
  let checkAt: number | null = null
  let lookedAtAll = true
  // Those already rung and still in time come first: their free slots count as taken.
  const inTurn = [...bells]
    .filter(bell => !givenUp(bell))
    .sort(([, a], [, b]) => Number(waiting(b)) - Number(waiting(a)) || (a.rungAt ?? 0) - (b.rungAt ?? 0))
  for (const [runnerId, bell] of inTurn) {
    if (open.every(need => need.count <= 0)) break
    const capacity = glance(runnerId)
    if (capacity === 'later') lookedAtAll = false
    if (capacity === 'nobody') giveUp.push(runnerId)
    if (capacity === 'later' || capacity === 'nobody') continue
    const before = scope === 'new' && waiting(bell) ? bell.promised : 0
    const taken = cover(ctx, capacity, capacity.freeSlots - before, open)
    if (taken === 0) continue
    promised.set(runnerId, before + taken)
    if (!waiting(bell)) ring.push(runnerId)
    const due = (waiting(bell) ? (bell.rungAt ?? ctx.now) : ctx.now) + RING_ANSWER_MS
    checkAt = Math.min(checkAt ?? due, due)
  }
  // Who was not looked at may be just the one.
  if (!lookedAtAll && open.some(need => need.count > 0)) checkAt = ctx.now
  return { ring, promised, giveUp, checkAt }
}

/** Takes the runs that this runner could take in so many slots off `open`. @returns how many */
function cover(
  ctx: PoolContext,
  { runner, memoryLeftMb }: Capacity,
  slots: number,
  open: { readonly demand: Demand; count: number }[],
): number {
  if (slots <= 0 || !takesWork(ctx, runner)) return 0
  let free = slots
  for (const need of open) {
    if (free <= 0) break
    if (need.count <= 0 || obstacles(ctx, need.demand, runner, memoryLeftMb).length > 0) continue
    const count = Math.min(need.count, free)
    need.count -= count
    free -= count
  }
  return slots - free
}

/** What runners could take: from memory, and of a few from their rows. */
function glancing(ctx: PoolContext): (runnerId: string) => Capacity | 'later' | 'nobody' {
  let looks = LOOKS_PER_PLAN
  return runnerId => {
    const known = ctx.capacities.get(runnerId)
    if (known !== undefined) return known
    if (looks === 0) return 'later'
    looks -= 1
    const runner = ctx.store.runners.get(runnerId)
    if (runner === null) return 'nobody'
    const capacity = capacityOf(ctx, runner, ctx.store.leases.ofRunner(runnerId))
    ctx.capacities.set(runnerId, capacity)
    return capacity
  }
}
