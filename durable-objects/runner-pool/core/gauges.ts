import { VERSION } from '../../../protocol/version.ts'
import type { PoolContext } from './context.ts'
import { isOnline } from './presence.ts'
import { isBehind, stats } from './runners.ts'

/** How the pool is. Seconds, and epoch seconds. */
export interface PoolGauges {
  readonly queueDepth: number
  readonly queueOldestWait: number
  readonly slotsTotal: number
  readonly slotsBusy: number
  readonly runnersOnline: number
  readonly runnersTotal: number
  readonly runnersBehind: number
  readonly relayViewers: number
  readonly outboxLag: number
}

/** Reads every runner: for once a minute. */
export function gaugesOf(ctx: PoolContext): PoolGauges {
  const runners = [...ctx.store.runners.all()]
  const { queued, oldest_queued_seconds, ...totals } = stats(ctx, runners)
  const oldestEvent = ctx.store.outbox.oldestAt()
  return {
    queueDepth: queued,
    queueOldestWait: oldest_queued_seconds ?? 0,
    slotsTotal: totals.slots_total,
    slotsBusy: totals.slots_busy,
    runnersOnline: totals.runners_online,
    runnersTotal: totals.runners_total,
    runnersBehind: runners.filter(runner => isBehind(runner.version, VERSION) && isOnline(ctx, runner))
      .length,
    relayViewers: ctx.store.streams.viewers(),
    outboxLag: oldestEvent === null ? 0 : Math.max(0, (ctx.now - oldestEvent) / 1000),
  }
}
