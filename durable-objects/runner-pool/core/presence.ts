import type { RunnerStatus } from '../../../protocol/admin-api.ts'
import type { Health } from '../../../protocol/runner-api.ts'
import type { PoolContext } from './context.ts'
import type { RunnerRecord } from './model.ts'

/** A runner is never called offline sooner than this after a sync, however short its interval. */
const OFFLINE_FLOOR_MS = 45_000
/** Nor within this of a doorbell pong: three of its pings and some slack. */
const PONG_FRESH_MS = 75_000
/** With a doorbell the idle interval is this many times as long: a ring brings the sync. */
const DOORBELL_PATIENCE = 60
/** While idle, last-seen is written at most this often. */
export const LAST_SEEN_PERSIST_MS = 3_600_000

export function isOnline(ctx: PoolContext, runner: Readonly<RunnerRecord>): boolean {
  if (runner.left || runner.removedAt !== null) return false
  const memo = ctx.memos.get(runner.id)
  const socketPong = ctx.doorbells.lastPongAt(runner.id)
  if (isFresh(ctx, socketPong ?? memo?.pongAt ?? null)) return true
  const told = memo?.nextSyncMs ?? runner.nextSyncMs
  // A runner that lives syncs at once when its pongs stay away, so one behind a silent socket has no long interval.
  const interval = socketPong === null ? told : Math.min(told, ctx.rules.syncIdleMs)
  const threshold = Math.max(3 * interval, OFFLINE_FLOOR_MS)
  if (memo !== undefined) return ctx.now - memo.seenAt < threshold
  // The memory went with hibernation. What is stored may be up to an hour old for a runner that is well,
  // so it gets one threshold from the wake-up to show itself; beyond that hour it cannot be well.
  if (ctx.now - runner.lastSeenAt < threshold) return true
  const couldBeWell = ctx.now - runner.lastSeenAt < LAST_SEEN_PERSIST_MS + threshold
  return couldBeWell && ctx.now - ctx.wokeAt < threshold
}

export function statusOf(ctx: PoolContext, runner: Readonly<RunnerRecord>): RunnerStatus {
  if (!isOnline(ctx, runner)) return 'offline'
  return isDraining(runner) ? 'draining' : 'online'
}

export function isDraining(runner: Readonly<RunnerRecord>): boolean {
  return runner.state === 'draining' || runner.drainingItself
}

/** The newest health the pool has heard of; after hibernation, the stored one. */
export function healthOf(ctx: PoolContext, runner: Readonly<RunnerRecord>): Health | null {
  return ctx.memos.get(runner.id)?.health ?? runner.health
}

export function lastHeartbeatAt(ctx: PoolContext, runner: Readonly<RunnerRecord>): number {
  return Math.max(
    runner.lastSeenAt,
    ctx.memos.get(runner.id)?.seenAt ?? 0,
    ctx.doorbells.lastPongAt(runner.id) ?? 0,
  )
}

/** How soon the runner should sync again. `busy`: it holds a lease, an offer or an open command. */
export function nextSyncMs(ctx: PoolContext, runnerId: string, busy: boolean): number {
  const canBeRung = isFresh(ctx, ctx.doorbells.lastPongAt(runnerId))
  const idle = ctx.rules.syncIdleMs * (canBeRung ? DOORBELL_PATIENCE : 1)
  return busy ? Math.min(idle, Math.floor(ctx.rules.leaseTtlMs / 4)) : idle
}

function isFresh(ctx: PoolContext, pong: number | null): boolean {
  return pong !== null && ctx.now - pong < PONG_FRESH_MS
}
