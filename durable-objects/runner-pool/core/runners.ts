import type { Page, PoolState, PoolStats, Runner } from '../../../protocol/admin-api.ts'
import { accepted, type Result, refused } from '../../../protocol/errors.ts'
import { timestamp } from '../../../protocol/text.ts'
import { isSameLine, VERSION } from '../../../protocol/version.ts'
import type { Registration, RegistrationIdentity } from '../rpc.ts'
import { settleLapse, settleLoss } from './attempt.ts'
import { authenticate } from './authentication.ts'
import type { PoolContext } from './context.ts'
import type { RunnerRecord } from './model.ts'
import { isOnline, lastHeartbeatAt, nextSyncMs, statusOf } from './presence.ts'
import { leaveToOldEngine } from './profile.ts'

/** How runners come, are looked at and go. */

/**
 * The same process asking again before its first sync lost the reply: it gets its runner back. A name is free
 * when nobody has it or its holder is offline, whom the newcomer then replaces under the same id.
 */
export function previewRegistration(ctx: PoolContext, who: RegistrationIdentity): Result<'new' | 'repeat'> {
  const holder = ctx.store.runners.byName(who.name)
  if (holder === null) return accepted('new')
  if (isRepeat(holder, who)) return accepted('repeat')
  if (isOnline(ctx, holder)) {
    return refused('runner_name_taken', `an online runner is already called ${who.name}`)
  }
  return accepted('new')
}

export function register(
  ctx: PoolContext,
  registration: Registration,
): Result<{ runner_id: string; sync_interval_ms: number }> {
  const preview = previewRegistration(ctx, registration)
  if (!preview.ok) return preview
  const holder = ctx.store.runners.byName(registration.name)
  const runner = newRecord(ctx, registration, holder)
  if (holder === null) ctx.store.runners.insert(runner)
  else replace(ctx, holder, runner)
  ctx.memos.delete(runner.id)
  ctx.capacities.delete(runner.id)
  ctx.effects.hangUp.add(runner.id)
  return accepted({ runner_id: runner.id, sync_interval_ms: nextSyncMs(ctx, runner.id, false) })
}

export function rotateCredential(
  ctx: PoolContext,
  runnerId: string,
  credentialHash: string,
  nextHash: string,
): Result<null> {
  const known = authenticate(ctx, runnerId, credentialHash)
  if (!known.ok) return known
  const { runner } = known.value
  runner.pendingCredentialHash = nextHash
  ctx.store.runners.update(runner)
  return accepted(null)
}

/**
 * From here on the runner is nobody: not listed, not authenticated, its name free. Its record stays while
 * leases point to it, so that they end at their own time; `force` ends them now.
 */
export function remove(ctx: PoolContext, runner: RunnerRecord, force: boolean): void {
  ctx.store.runners.markRemoved(runner.id, ctx.now)
  ctx.memos.delete(runner.id)
  ctx.capacities.delete(runner.id)
  ctx.effects.hangUp.add(runner.id)
  const leases = ctx.store.leases.ofRunner(runner.id)
  if (leases.length > 0 && !force) return
  for (const lease of leases) {
    const run = ctx.store.runs.get(lease.runId)
    if (run === null) continue
    if (lease.state === 'offered') settleLapse(ctx, lease, run)
    else settleLoss(ctx, lease, run, 'runner_removed')
  }
  ctx.store.runners.delete(runner.id)
}

/** By an admin's order. One that is removed already can still be removed by force, while leases of it run on. */
export function removeRunner(ctx: PoolContext, runnerId: string, force: boolean): Result<null> {
  const runner = ctx.store.runners.get(runnerId)
  const isHolding = () => ctx.store.leases.ofRunner(runnerId).length > 0
  if (runner === null || (runner.removedAt !== null && !(force && isHolding()))) {
    return refused('not_found', 'no such runner')
  }
  remove(ctx, runner, force)
  return accepted(null)
}

export function findRunner(ctx: PoolContext, runnerId: string): RunnerRecord | null {
  const runner = ctx.store.runners.get(runnerId)
  return runner?.removedAt === null ? runner : null
}

export function setRunnerState(
  ctx: PoolContext,
  runnerId: string,
  state: PoolState,
  note: string | null,
): Result<RunnerRecord> {
  const runner = findRunner(ctx, runnerId)
  if (runner === null) return refused('not_found', 'no such runner')
  runner.state = state
  runner.note = note
  ctx.store.runners.update(runner)
  ctx.capacities.delete(runnerId)
  if (state === 'active') ctx.effects.workWaits = true
  return accepted(runner)
}

/**
 * A runner that lives syncs at once when its doorbell is cut, so from here on it is judged by the interval of one
 * without: a host that was switched off does not keep its name until long after its next idle sync.
 *
 * @param pongAt the last sign of life that came over the doorbell
 */
export function doorbellLost(ctx: PoolContext, runnerId: string, pongAt: number): void {
  const runner = findRunner(ctx, runnerId)
  if (runner === null || runner.left || ctx.doorbells.lastPongAt(runnerId) !== null) return
  runner.nextSyncMs = ctx.rules.syncIdleMs
  runner.lastSeenAt = Math.max(runner.lastSeenAt, pongAt)
  ctx.store.runners.update(runner)
  const memo = ctx.memos.get(runnerId) ?? {
    bootId: runner.bootId,
    seq: runner.seq,
    seenAt: runner.lastSeenAt,
    health: runner.health,
  }
  ctx.memos.set(runnerId, { ...memo, nextSyncMs: runner.nextSyncMs, pongAt })
}

/** @param cursor id of the last runner of the page before */
export function listRunners(ctx: PoolContext, limit: number, cursor: string | null): Page<Runner> {
  const rows = ctx.store.runners.pageBackwards(cursor, limit + 1)
  const items = rows.slice(0, limit)
  return {
    items: items.map(runner => toRunner(ctx, runner)),
    next_cursor: rows.length > limit ? (items.at(-1)?.id ?? null) : null,
  }
}

/** @param runners all of them, where they have been read already */
export function stats(
  ctx: PoolContext,
  runners: Iterable<RunnerRecord> = ctx.store.runners.all(),
): PoolStats {
  const totals = { runners_online: 0, runners_total: 0, slots_total: 0, slots_busy: 0 }
  for (const runner of runners) {
    totals.runners_total += 1
    if (!isOnline(ctx, runner)) continue
    totals.runners_online += 1
    totals.slots_total += runner.slotsMax
  }
  totals.slots_busy = ctx.store.leases.count()
  const oldest = ctx.store.queue.oldestQueuedAt()
  return {
    ...totals,
    queued: ctx.store.queue.lanes().reduce((sum, lane) => sum + lane.queued, 0),
    oldest_queued_seconds: oldest === null ? null : Math.floor((ctx.now - oldest) / 1000),
  }
}

export function onlineByToken(ctx: PoolContext): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const runner of ctx.store.runners.all()) {
    if (isOnline(ctx, runner)) counts[runner.tokenId] = (counts[runner.tokenId] ?? 0) + 1
  }
  return counts
}

export function toRunner(ctx: PoolContext, runner: RunnerRecord): Runner {
  const leases = ctx.store.leases.ofRunner(runner.id)
  return {
    id: runner.id,
    pool_id: ctx.pool.poolId,
    name: runner.name,
    status: statusOf(ctx, runner),
    slots: { max: runner.slotsMax, busy: leases.length },
    sessions: leases.map(lease => ({ session_id: lease.sessionId, run_id: lease.runId })),
    labels: { ...runner.labels },
    last_heartbeat_at: timestamp(lastHeartbeatAt(ctx, runner)),
    version: runner.version,
    version_behind: isBehind(runner.version, VERSION),
    agent_version: runner.agentVersion,
    agent_mismatch: runner.agentVersion !== null && !isSameLine(runner.agentVersion, runner.version),
    protocol: runner.protocol,
    platform: runner.platform,
    engine: runner.engine,
    note: runner.note,
    registered_at: timestamp(runner.registeredAt),
  }
}

/** Compares dotted numbers; a version that is not one is never called behind. */
export function isBehind(version: string, current: string): boolean {
  const numbers = (text: string) => /^v?(\d+)\.(\d+)\.(\d+)/.exec(text)?.slice(1).map(Number)
  const theirs = numbers(version)
  const ours = numbers(current)
  if (theirs === undefined || ours === undefined) return false
  const difference = ours.map((number, i) => number - (theirs[i] ?? 0)).find(delta => delta !== 0)
  return difference !== undefined && difference > 0
}

/** The newcomer keeps the leases it lists; on the same Engine it would see every container there is. */
function replace(ctx: PoolContext, holder: RunnerRecord, newcomer: RunnerRecord): void {
  ctx.store.runners.update(newcomer)
  if (holder.engine === null || holder.engine.id !== newcomer.engine?.id) leaveToOldEngine(ctx, holder)
}

function isRepeat(holder: RunnerRecord, who: RegistrationIdentity): boolean {
  return !holder.synced && holder.tokenId === who.token_id && holder.bootId === who.boot_id
}

function newRecord(ctx: PoolContext, registration: Registration, holder: RunnerRecord | null): RunnerRecord {
  return {
    id: holder?.id ?? registration.fresh_runner_id,
    name: registration.name,
    tokenId: registration.token_id,
    credentialHash: registration.credential_hash,
    pendingCredentialHash: null,
    boot: registration.boot,
    bootId: registration.boot_id,
    seq: 0,
    synced: false,
    slotsMax: registration.max_concurrency,
    labels: registration.labels,
    version: registration.version,
    agentVersion: null,
    protocol: registration.protocol,
    platform: registration.platform,
    engine: registration.engine,
    state: holder?.state ?? 'active',
    note: holder?.note ?? null,
    drainingItself: false,
    left: false,
    registeredAt: holder?.registeredAt ?? ctx.now,
    lastSeenAt: ctx.now,
    nextSyncMs: ctx.rules.syncIdleMs,
    health: null,
    renewedAt: holder?.renewedAt ?? ctx.now,
    holdMs: holder?.holdMs ?? ctx.rules.leaseTtlMs,
    removedAt: null,
  }
}
