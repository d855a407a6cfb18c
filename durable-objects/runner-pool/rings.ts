import type { AlarmClock } from '../storage/alarm-clock.ts'
import type { PoolContext } from './core/context.ts'
import { type Need, needsOf, planRings } from './core/doorbell.ts'
import type { LaneRecord } from './core/model.ts'
import type { Doorbells } from './doorbells.ts'

/** A pool has a handful of lanes; with thousands, every plan of rings looks at this many more of them. */
const LANES_PER_PLAN = 256

interface RingParts {
  readonly alarm: Pick<AlarmClock, 'wakeBy'>
  readonly doorbells: Pick<Doorbells, 'bells' | 'close' | 'promise' | 'ring'>
}

/**
 * Rings runners for the work that waits, once the command that made it wait is stored. A run that begins to wait is
 * planned for by itself; only what may change the lot of every run has the lanes looked at, in turn.
 */
export class Rings {
  readonly #parts: RingParts
  /** Up to which lane the last plan looked; 0 when it saw the end. */
  #plannedUpTo = 0

  constructor(parts: RingParts) {
    this.#parts = parts
  }

  ringForWork(ctx: PoolContext): void {
    const { seeking, workWaits } = ctx.effects
    if (seeking.length > 0)
      this.#carryOut(
        ctx,
        seeking.map(demand => ({ demand, count: 1 })),
        'new',
      )
    if (workWaits) this.#carryOut(ctx, null, 'all')
  }

  /** @param needs null: what waits in the lanes, looked at only if anybody can be rung */
  #carryOut(ctx: PoolContext, needs: readonly Need[] | null, scope: 'new' | 'all'): void {
    const { alarm, doorbells } = this.#parts
    const bells = doorbells.bells()
    if (bells.size === 0) return
    const plan = planRings(ctx, bells, needs ?? needsOf(ctx, this.#nextLanes(ctx)), scope)
    alarm.wakeBy(plan.checkAt)
    for (const runnerId of plan.giveUp) doorbells.close(runnerId, 1011, 'rings are not answered')
    for (const runnerId of plan.ring) doorbells.ring(runnerId, ctx.now)
    for (const [runnerId, runs] of plan.promised) doorbells.promise(runnerId, runs)
  }

  #nextLanes(ctx: PoolContext): LaneRecord[] {
    const { queue } = ctx.store
    const next = queue.lanesAfter(this.#plannedUpTo, LANES_PER_PLAN)
    const lanes = next.length > 0 ? next : queue.lanesAfter(0, LANES_PER_PLAN)
    this.#plannedUpTo = lanes.length < LANES_PER_PLAN ? 0 : (lanes.at(-1)?.id ?? 0)
    return lanes
  }
}
