import { accepted, type Result, refused } from '../../../protocol/errors.ts'
import { isTerminal, type Run, type WaitingFor } from '../../../protocol/run.ts'
import type { StreamReport, WatchableSession } from '../../session-relay/rpc.ts'
import type { PoolContext } from './context.ts'
import { countsSince, NOTHING_COUNTED } from './measured.ts'
import type { CommandRecord, LeaseRecord, RunRecord, StreamRecord } from './model.ts'
import { explain } from './placement.ts'
import { recordEvent } from './run-state.ts'

/**
 * Live views, as far as the pool has a part in them: the relay of a session reports who is there, and the runner is
 * told to open its line or to close it. Both are level-triggered: a report holds everything, and as long as what is
 * wanted is not so, every sync of the runner carries the command for it.
 */

/** @returns whether the session is live; a relay whose session is not ends itself */
export function streamChanged(
  ctx: PoolContext,
  runId: string,
  sessionId: string,
  report: StreamReport,
): Result<{ live: boolean }> {
  const run = ctx.store.runs.get(runId)
  const lease = run === null ? null : leaseOf(ctx, run, sessionId)
  if (run === null || lease === null) return accepted({ live: false })
  const before = ctx.store.streams.get(lease.runnerId, sessionId)
  const { state, viewers, publisher, counts = NOTHING_COUNTED } = report
  const stream: StreamRecord = {
    runnerId: lease.runnerId,
    sessionId,
    state,
    viewers,
    publisher,
    opened: state !== 'off' && (state === 'live' || before?.opened === true),
    counts,
  }
  ctx.effects.measured.push({ type: 'relay', counts: countsSince(before?.counts ?? NOTHING_COUNTED, counts) })
  if (JSON.stringify(before) !== JSON.stringify(stream)) ctx.store.streams.put(stream)
  const version = run.version
  // Once for those who watch: a picture that comes and goes, as a job may have it, is no event each time.
  if (stream.opened && before?.opened !== true) {
    recordEvent(ctx, run, 'stream_opened', 'the live view has a picture')
  } else if (state === 'off' && before !== null && before.state !== 'off') {
    recordEvent(ctx, run, 'stream_closed', whyClosed(lease, report))
  }
  if (run.version !== version) ctx.store.runs.update(run)
  orderStream(ctx, lease, stream, ctx.store.commands.ofRunner(lease.runnerId))
  return accepted({ live: true })
}

function whyClosed({ stop }: LeaseRecord, { gave_up }: StreamReport): string {
  if (stop !== null) return 'the session is being ended'
  return gave_up ? 'the runner did not connect in time to those who waited' : 'nobody watches any more'
}

/** The last word on the live view of a session that ends while it is watched. */
export function endStream(ctx: PoolContext, lease: LeaseRecord, run: RunRecord): void {
  const stream = ctx.store.streams.get(lease.runnerId, lease.sessionId)
  if (stream === null || stream.state === 'off') return
  recordEvent(ctx, run, 'stream_closed', 'the session has ended')
}

/** Every live view that is not as it should be has its one command. */
export function ensureStreams(
  ctx: PoolContext,
  runnerId: string,
  live: readonly LeaseRecord[],
  open: readonly CommandRecord[],
): boolean {
  if (live.length === 0) return false
  let ordered = false
  for (const stream of ctx.store.streams.ofRunner(runnerId)) {
    const lease = live.find(one => one.sessionId === stream.sessionId)
    if (lease !== undefined) ordered = orderStream(ctx, lease, stream, open) || ordered
  }
  return ordered
}

/** Of several commands about one live view only the newest counts, so there is never more than one. */
function orderStream(
  ctx: PoolContext,
  lease: LeaseRecord,
  stream: StreamRecord,
  open: readonly CommandRecord[],
): boolean {
  const isWanted = stream.viewers > 0 && ctx.relayAllowed && lease.stop === null
  const type = isWanted ? 'open_stream' : 'close_stream'
  let isOrdered = false
  for (const command of open) {
    if (command.sessionId !== stream.sessionId || command.type === 'stop_session') continue
    if (command.type === type) isOrdered = true
    else ctx.store.commands.delete(command)
  }
  // A runner that has not listed the session has nothing to open.
  if (isOrdered || stream.publisher === isWanted || lease.state === 'offered') return false
  const { runId, runnerId, sessionId } = lease
  const order: CommandRecord = {
    id: ctx.mintId('command'),
    runnerId,
    sessionId,
    type,
    reason: null,
    issuedAt: ctx.now,
  }
  ctx.store.commands.insert(order)
  ctx.effects.streamsOrdered.push({ ...order, runId })
  ctx.effects.ring.add(runnerId)
  return true
}

export function streamOf(ctx: PoolContext, run: RunRecord): Run['stream'] {
  const { runnerId, sessionId } = run
  if (isTerminal(run.status)) return { transport: 'relay', state: 'ended', viewers: 0 }
  const stream = runnerId === null || sessionId === null ? null : ctx.store.streams.get(runnerId, sessionId)
  return { transport: 'relay', state: stream?.state ?? 'off', viewers: stream?.viewers ?? 0 }
}

/** @returns what identifies the session to its relay, or why nobody can watch the run now */
export function watchableSession(ctx: PoolContext, run: RunRecord): Result<WatchableSession> {
  if (!run.spec.stream) return refused('not_running', 'the run was created without a live view')
  if (isTerminal(run.status)) return notRunning(run, `the run has ended: ${endOf(run)}`)
  const lease = run.sessionId === null ? null : leaseOf(ctx, run, run.sessionId)
  if (lease === null || lease.state === 'offered') {
    return notRunning(run, `the run is ${run.status}: ${whyNotYet(ctx, run)}`)
  }
  return accepted({ session_id: lease.sessionId, runner_id: lease.runnerId })
}

/** With its status: somebody who waits for its session has to know whether there will be one. */
function notRunning({ status }: RunRecord, detail: string): Result<never> {
  return { ok: false, error: { code: 'not_running', detail, run_status: status } }
}

const WAITS: Readonly<Record<WaitingFor, string>> = {
  runner: 'it waits for a runner to come online',
  slot: 'it waits for a free slot',
  label: 'it waits for a runner that has its labels',
  resume: 'it waits until the pool or a runner is resumed',
  memory: 'it waits for a runner with enough memory',
}

function whyNotYet(ctx: PoolContext, run: RunRecord): string {
  const { waiting_for } = explain(ctx, run)
  return waiting_for === null ? 'a runner takes it soon' : WAITS[waiting_for]
}

function endOf({ status, failure }: RunRecord): string {
  return failure === null ? status : `${status}, ${failure.code}`
}

function leaseOf(ctx: PoolContext, run: RunRecord, sessionId: string): LeaseRecord | null {
  if (run.sessionId !== sessionId || run.runnerId === null || isTerminal(run.status)) return null
  return ctx.store.leases.get(run.runnerId, sessionId)
}
