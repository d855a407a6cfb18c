import { accepted, type Result, refused } from '../../../protocol/errors.ts'
import type { Offer, SyncRequest, SyncResponse } from '../../../protocol/runner-api.ts'
import { timestamp } from '../../../protocol/text.ts'
import { assign } from './assignment.ts'
import { offer } from './attempt.ts'
import { authenticate } from './authentication.ts'
import { type PoolContext, wakeForLeaseBy } from './context.ts'
import { checkLease, issueStop } from './expiry.ts'
import {
  type CommandRecord,
  type LeaseRecord,
  MISSING_NOT_COUNTED,
  type RunnerRecord,
  type RunRecord,
} from './model.ts'
import { capacityOf } from './placement.ts'
import { LAST_SEEN_PERSIST_MS, nextSyncMs } from './presence.ts'
import { updateProfile } from './profile.ts'
import { applyReports } from './reports.ts'
import { ensureStreams } from './streams.ts'

/**
 * A job is as large as the body that made it, and a reply must fit through a call to the object with room to
 * spare. More slots than this are filled by the syncs that follow at once.
 */
const OFFERS_PER_REPLY = 32

/** With the alarm very late more runs may have timed out than one sync should see to; the next goes on. */
const GRANT_ROUNDS = 8

interface Granted {
  readonly lease: LeaseRecord
  readonly run: RunRecord
}

/**
 * One sync: the runner's full observed state in, its full desired state out.
 *
 * Order matters. Who speaks is settled first (credential, boot, seq): a refused or stale sync applies nothing.
 * Then what the runner reports, then what that frees is given away, then the reply is made from what is
 * stored, so that a lost reply is repaired by the next sync whatever it was about to say.
 */
export function sync(
  ctx: PoolContext,
  runnerId: string,
  credentialHash: string,
  request: SyncRequest,
): Result<SyncResponse> {
  const spoken = whoSpeaks(ctx, runnerId, credentialHash, request)
  if (!spoken.ok) return spoken
  const { runner, promoted, isStale, isNewBoot } = spoken.value
  if (isStale) return accepted(staleReply(ctx, runner))
  const profileChanged = updateProfile(ctx, runner, request, isNewBoot)
  hear(ctx, runner, request)

  const before = ctx.store.leases.ofRunner(runner.id)
  const held = before.filter(lease => checkLease(ctx, lease, runner))
  const { verdicts, live, renewed } = applyReports(ctx, runner, held, request)
  const granted = grant(ctx, runner, live, request)
  const commands = ensureCommands(ctx, runner, live)

  const offered = live.filter(lease => lease.state === 'offered' && !granted.some(g => g.lease === lease))
  const offers = [
    ...offered.flatMap(lease => offerAgain(ctx, runner, lease)),
    ...granted.map(({ lease, run }) => toOffer(ctx, lease, run)),
  ]
  const busy = live.length + granted.length + commands.length > 0
  const next = nextSyncMs(ctx, runner.id, busy)
  const holdMs = request.leaving === true ? ctx.rules.handoverMs : ctx.rules.leaseTtlMs
  if (renewed) {
    runner.renewedAt = ctx.now
    runner.holdMs = holdMs
    wakeForLeaseBy(ctx, ctx.now + holdMs + ctx.rules.leaseGraceMs)
  }
  const idleTooLong = ctx.now - runner.lastSeenAt >= LAST_SEEN_PERSIST_MS
  const changed = profileChanged || promoted || before.length > 0 || granted.length > 0 || idleTooLong
  if (changed) save(ctx, runner, request.seq, next)
  hear(ctx, runner, request, next)
  ctx.capacities.set(runner.id, capacityOf(ctx, runner, [...live, ...granted.map(({ lease }) => lease)]))
  return accepted({
    server_time: timestamp(ctx.now),
    stale: false,
    next_sync_in_ms: next,
    lease_ttl_ms: holdMs,
    runner: { state: runner.state, note: runner.note },
    offers,
    commands: commands.map(toCommand),
    leases: verdicts,
  })
}

/**
 * The runner, and what its credential, boot and seq make of this sync. The first use of a new credential is stored here
 * where nothing else of the sync will be.
 */
function whoSpeaks(
  ctx: PoolContext,
  runnerId: string,
  credentialHash: string,
  request: SyncRequest,
): Result<{ runner: RunnerRecord; promoted: boolean; isNewBoot: boolean; isStale: boolean }> {
  const known = authenticate(ctx, runnerId, credentialHash)
  if (!known.ok) return known
  const { runner, promoted } = known.value
  const isNewBoot = request.boot > runner.boot
  const isSuperseded = !isNewBoot && (request.boot < runner.boot || request.boot_id !== runner.bootId)
  const isStale = !isNewBoot && request.seq <= lastSeq(ctx, runner)
  if (promoted && (isSuperseded || isStale)) ctx.store.runners.update(runner)
  if (!isSuperseded) return accepted({ runner, promoted, isNewBoot, isStale })
  return refused('boot_superseded', 'another process of this runner has synced with this boot or a later one')
}

/** A memo outlives no hibernation; the row knows every seq that wrote anything, which is all that matters. */
function lastSeq(ctx: PoolContext, runner: RunnerRecord): number {
  if (!runner.synced) return -1
  const memo = ctx.memos.get(runner.id)
  return memo?.bootId === runner.bootId ? Math.max(memo.seq, runner.seq) : runner.seq
}

function staleReply(ctx: PoolContext, runner: RunnerRecord): SyncResponse {
  return {
    server_time: timestamp(ctx.now),
    stale: true,
    next_sync_in_ms: nextSyncMs(ctx, runner.id, true),
    lease_ttl_ms: ctx.rules.leaseTtlMs,
    runner: { state: runner.state, note: runner.note },
    offers: [],
    commands: [],
    leases: [],
  }
}

/** Gives away the slots the runner does not hold: neither listed as occupied nor already promised. */
function grant(
  ctx: PoolContext,
  runner: RunnerRecord,
  live: readonly LeaseRecord[],
  request: SyncRequest,
): Granted[] {
  const occupied = new Set(live.map(lease => lease.sessionId))
  const openOffers = live.filter(lease => lease.state === 'offered').length
  for (const report of request.leases) if (report.state !== 'exited') occupied.add(report.session_id)
  const slots = Math.min(request.slots.max - occupied.size, OFFERS_PER_REPLY - openOffers)
  const granted: Granted[] = []
  // A run whose time is over ends when its turn comes; the slot goes to the next.
  for (let round = 0; round < GRANT_ROUNDS; round++) {
    const leases = [...live, ...granted.map(({ lease }) => lease)]
    const entries = assign(ctx, runner, leases, slots - granted.length)
    const offered = entries.flatMap(entry => offer(ctx, entry, runner) ?? [])
    granted.push(...offered)
    if (offered.length === entries.length) break
  }
  return granted
}

/**
 * Every lease that must stop has exactly one open command, and so has every live view that is not as it should be;
 * one acked without effect is issued again.
 */
function ensureCommands(
  ctx: PoolContext,
  runner: RunnerRecord,
  live: readonly LeaseRecord[],
): CommandRecord[] {
  const open = ctx.store.commands.ofRunner(runner.id)
  const stopping = new Set(
    open.filter(({ type }) => type === 'stop_session').map(({ sessionId }) => sessionId),
  )
  const unordered = live.filter(lease => lease.stop !== null && !stopping.has(lease.sessionId))
  for (const lease of unordered) issueStop(ctx, lease)
  const streamsOrdered = ensureStreams(ctx, runner.id, live, open)
  return unordered.length > 0 || streamsOrdered ? ctx.store.commands.ofRunner(runner.id) : open
}

/**
 * The same offer, as long as the runner has not listed it, time is left and nobody cancelled. One made to another
 * Engine may have been taken there, and who leaves takes nothing: both lapse at their own time.
 */
function offerAgain(ctx: PoolContext, runner: RunnerRecord, lease: LeaseRecord): Offer[] {
  if (runner.left || lease.missing === MISSING_NOT_COUNTED) return []
  if (lease.stop !== null || ctx.now >= lease.offerEndsAt) return []
  const run = ctx.store.runs.get(lease.runId)
  return run === null ? [] : [toOffer(ctx, lease, run)]
}

function toOffer(ctx: PoolContext, lease: LeaseRecord, run: RunRecord): Offer {
  return {
    session_id: lease.sessionId,
    run_id: run.id,
    attempt: run.attempt,
    offer_ttl_ms: lease.offerEndsAt - ctx.now,
    job: {
      image: run.spec.image,
      command: run.spec.command === null ? null : [...run.spec.command],
      env: { ...ctx.store.runs.env(run.id) },
      timeout_seconds: run.spec.timeoutSeconds,
      resources: run.spec.resources,
      stream: run.spec.stream,
    },
    ...(run.spec.traceparent !== undefined && { traceparent: run.spec.traceparent }),
  }
}

function toCommand(command: CommandRecord): SyncResponse['commands'][number] {
  const { id, type, sessionId, reason } = command
  return { id, type, session_id: sessionId, ...(reason === null ? {} : { reason }) }
}

/** Whatever is written carries the seq; a sync that changes nothing leaves only the memo. */
function save(ctx: PoolContext, runner: RunnerRecord, seq: number, nextSync: number): void {
  runner.seq = seq
  runner.nextSyncMs = nextSync
  runner.lastSeenAt = ctx.now
  ctx.store.runners.update(runner)
}

function hear(
  ctx: PoolContext,
  runner: RunnerRecord,
  request: SyncRequest,
  nextSync = runner.nextSyncMs,
): void {
  ctx.memos.set(runner.id, {
    bootId: runner.bootId,
    seq: request.seq,
    seenAt: ctx.now,
    nextSyncMs: nextSync,
    health: runner.health,
    pongAt: null,
  })
}
