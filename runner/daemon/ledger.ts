import type { Command, Offer, SyncResponse } from '../../protocol/runner-api.ts'
import { StreamWishes } from '../relay/stream-wishes.ts'
import type { Action, Draft, EndReason, Found, LedgerOptions, Observation } from '../session-types.ts'
import { missFromListing, observeSession, recognise } from './observe-session.ts'
import { earlierAttemptLives, planSession } from './plan-session.ts'
import {
  endSession,
  foundSession,
  offeredSession,
  restoredSession,
  rewrite,
  type Session,
  timeoutAtMs,
} from './session.ts'
import { reportsOf } from './session-reports.ts'

/**
 * The runner's sessions and every decision about them, without I/O and without a clock.
 *
 * - A session id is a fence: it is accepted once, and never started again after it ended or was ordered to stop.
 * - Nothing is asked of the Engine before the journal durably says so, hence a restart never starts anything twice.
 * - What an earlier process left unstarted is started only after a `keep`.
 * - No session outlives its deadline: the offer's until the first `keep`, from then on the lease's.
 * - A container is removed only after `forget` or `stop`, and its journal entry after it.
 * - What a former registration left is never started and never reported: it ends at its deadline, as it would without
 *   a daemon that could renew it, and at once when this registration holds, because from then on none ever can. Until
 *   then the operator may take the new settings back and lose nothing. After that it is removed.
 *
 * It is level-triggered: `plan` repeats what is undone until an observation says otherwise.
 */

/** From the lease's end: SIGTERM at once, SIGKILL this much later. The control plane waits for longer than this. */
export const LEASE_KILL_MS = 10_000
/** How long a running container that nothing is remembered about may wait for its first verdict. */
export const FOUND_LEASE_MS = 10_000
const FORMER = 'the runner was renamed or moved to another pool, so nobody can renew its lease any more'
/** An ended session id is remembered for longer than any offer or reply can be on its way. */
export const FENCE_MS = 3_600_000

export class SessionLedger {
  readonly #options: Omit<LedgerOptions, 'restored'>
  readonly #sessions = new Map<string, Session>()
  /** Session ids that must never be started, with the time they were fenced. */
  readonly #fenced = new Map<string, number>()
  /** Kept up to date by whoever opens and closes the lines to the relay. */
  readonly streams = new StreamWishes()
  #commands: readonly Command[] = []
  #inventory: Draft['inventory'] = 'unknown'
  #lastAppliedSentAtMs = Number.NEGATIVE_INFINITY
  #leaving = false
  #hasJoined = false
  #halted: string | null = null
  #agentVersion: string | null = null

  constructor({ restored, ...options }: LedgerOptions) {
    this.#options = options
    for (const entry of restored) {
      this.#sessions.set(entry.session_id, restoredSession(entry, options.lastSync, options.installationId))
    }
  }

  /** What the next sync says. An unknown inventory asks for no work: what cannot be listed cannot be run. */
  draft(nowMs: number): Draft {
    this.#expire(nowMs)
    const { leases, areAll } = reportsOf(this.#sessions.values())
    return {
      draining: this.#takesNothing(),
      leaving: this.#leaving,
      inventory: areAll ? this.#inventory : 'unknown',
      slots: { max: this.#options.slotsMax },
      leases,
      acks: this.#commands.filter(command => this.#effectHolds(command)).map(command => command.id),
      ...(this.#agentVersion !== null && { agent_version: this.#agentVersion }),
    }
  }

  /** @param sentAtMs when the request was sent that this answers: every deadline counts from there */
  applyReply(reply: SyncResponse, sentAtMs: number, nowMs: number): void {
    if (reply.stale || sentAtMs < this.#lastAppliedSentAtMs) return
    this.#lastAppliedSentAtMs = sentAtMs
    this.#commands = reply.commands
    this.streams.apply(reply.commands)
    for (const { session_id, verdict } of reply.leases) {
      const session = this.#sessions.get(session_id)
      if (session === undefined || session.isFormer) continue
      if (verdict === 'keep') this.#keep(session, sentAtMs + reply.lease_ttl_ms)
      else this.#release(session, verdict, nowMs)
    }
    // Before the offers: an order to stop fences a session that the same reply may still offer.
    for (const command of reply.commands) this.#obey(command, nowMs)
    for (const offer of reply.offers) this.#consider(offer, sentAtMs, nowMs)
    for (const [id, atMs] of this.#fenced) if (nowMs - atMs > FENCE_MS) this.#fenced.delete(id)
    this.#expire(nowMs)
  }

  observe(seen: Observation, nowMs: number): void {
    if (seen.type === 'prepared') this.#agentVersion = seen.agent_version ?? this.#agentVersion
    if (seen.type === 'listing') this.#list(seen.found, seen.asOfMs, nowMs)
    else if (seen.type === 'listing_failed') this.#inventory = 'unknown'
    else this.#observeOne(seen, nowMs)
  }

  /** Everything still undone. */
  plan(nowMs: number): Action[] {
    this.#expire(nowMs)
    const mayAdvance = !this.#leaving && this.#halted === null
    return [...this.#sessions.values()].flatMap(session =>
      planSession(session, mayAdvance && !earlierAttemptLives(session, this.#sessions.values())),
    )
  }

  /** When the passing of time alone will change the plan; null: only an event will. */
  nextDueAt(): number | null {
    let dueMs = Number.POSITIVE_INFINITY
    for (const session of this.#sessions.values()) {
      if (session.isFormer && !session.released) dueMs = Math.min(dueMs, session.deadlineMs ?? dueMs)
      if (session.phase.at === 'ended') continue
      dueMs = Math.min(dueMs, session.deadlineMs ?? dueMs)
      if (session.ending === null) dueMs = Math.min(dueMs, timeoutAtMs(session))
      else if (!session.ending.killing) dueMs = Math.min(dueMs, session.ending.killAtMs ?? dueMs)
    }
    return Number.isFinite(dueMs) ? dueMs : null
  }

  /** From now on this process speaks for the runner that its settings name, and for no other. */
  join(nowMs: number): void {
    this.#hasJoined = true
    this.#expire(nowMs)
  }

  /** Takes nothing new and begins nothing more; what runs is left to the next daemon. */
  leave(): void {
    this.#leaving = true
  }

  /** Ends every session and takes nothing again: this process may no longer speak for the runner, or was told to. */
  halt(message: string, nowMs: number): void {
    this.#halted ??= message
    this.#expire(nowMs)
  }

  /** Sessions that hold a slot. */
  liveCount(): number {
    return [...this.#sessions.values()].filter(session => session.phase.at !== 'ended').length
  }

  runningIds(): string[] {
    return [...this.#sessions.values()].filter(({ phase }) => phase.at === 'running').map(({ id }) => id)
  }

  /** Of this registration: nobody takes what a former one's sessions leave. */
  collectableIds(at: 'running' | 'ended'): string[] {
    return [...this.#sessions.values()]
      .filter(({ phase, isFormer }) => phase.at === at && !isFormer)
      .map(({ id }) => id)
  }

  isEmpty(): boolean {
    return this.#sessions.size === 0
  }

  /** Ends one session for a reason of this host's own. */
  end(id: string, reason: EndReason, message: string, nowMs: number): void {
    const session = this.#sessions.get(id)
    if (session !== undefined) this.#end(session, reason, message, nowMs, this.#options.stopGraceMs)
  }

  session(id: string): Readonly<Session> | undefined {
    return this.#sessions.get(id)
  }

  #observeOne(
    seen: Exclude<Observation, { readonly type: 'listing' | 'listing_failed' }>,
    nowMs: number,
  ): void {
    const id = seen.type === 'journaled' ? seen.entry.session_id : seen.session_id
    const session = this.#sessions.get(id)
    if (session === undefined) return
    if (seen.type !== 'erased') {
      observeSession(session, seen, nowMs)
    } else if (session.phase.at === 'ended' && session.released) {
      this.#sessions.delete(id)
      this.#fenced.set(id, nowMs)
    }
  }

  #takesNothing(): boolean {
    return this.#leaving || this.#halted !== null || this.#inventory === 'unknown'
  }

  #consider(offer: Offer, sentAtMs: number, nowMs: number): void {
    const deadlineMs = sentAtMs + offer.offer_ttl_ms
    const held = this.#sessions.get(offer.session_id)
    if (held !== undefined) {
      if (!held.confirmed && held.deadlineMs !== null) held.deadlineMs = Math.min(held.deadlineMs, deadlineMs)
      return
    }
    if (this.#takesNothing() || this.#fenced.has(offer.session_id)) return
    if (deadlineMs <= nowMs || this.liveCount() >= this.#options.slotsMax) return
    this.#sessions.set(offer.session_id, offeredSession(offer, sentAtMs, this.#options))
  }

  #keep(session: Session, deadlineMs: number): void {
    session.confirmed = true
    session.mayStart = true
    session.deadlineMs = deadlineMs
  }

  /** `forget` for what still runs can only come from a server that lost it: it ends like `stop`. */
  #release(session: Session, verdict: 'stop' | 'forget', nowMs: number): void {
    session.released = true
    this.#end(session, 'stopped', `the control plane said ${verdict}`, nowMs, this.#options.stopGraceMs)
  }

  #obey(command: Command, nowMs: number): void {
    if (command.type !== 'stop_session') return
    const session = this.#sessions.get(command.session_id)
    if (session === undefined) {
      this.#fenced.set(command.session_id, nowMs)
      return
    }
    const reason = command.reason === 'timeout' ? 'timed_out' : 'stopped'
    const message = `stopped by the control plane: ${command.reason ?? 'no reason given'}`
    this.#end(session, reason, message, nowMs, this.#options.stopGraceMs)
  }

  /** Where no session is left, nothing of it is running and no line of it is open. */
  #effectHolds(command: Command): boolean {
    const session = this.#sessions.get(command.session_id)
    if (session === undefined) return this.#inventory === 'complete'
    if (session.phase.at === 'ended') return session.phase.container !== 'alive'
    return command.type !== 'stop_session' && this.streams.holds(command)
  }

  /** The first reason stands; a later one can only bring the SIGKILL forward. */
  #end(session: Session, reason: EndReason, message: string, nowMs: number, graceMs: number): void {
    if (session.phase.at === 'ended') return
    const killAtMs = nowMs + graceMs
    if (session.ending === null) {
      session.ending = { reason, message, sinceMs: nowMs, killAtMs, killing: false }
      rewrite(session, { ending: { reason, message } })
    } else {
      session.ending.killAtMs = Math.min(session.ending.killAtMs ?? killAtMs, killAtMs)
    }
    if (session.phase.at === 'accepted') endSession(session, { code: null, reason, message }, 'none')
  }

  #expire(nowMs: number): void {
    for (const session of this.#sessions.values()) {
      if (session.isFormer) this.#endFormer(session, nowMs)
      if (session.phase.at === 'ended') continue
      if (this.#halted !== null) this.#end(session, 'stopped', this.#halted, nowMs, this.#options.stopGraceMs)
      const { deadlineMs } = session
      if (deadlineMs !== null && nowMs >= deadlineMs) this.#lapse(session, deadlineMs, nowMs)
      if (nowMs >= timeoutAtMs(session)) {
        const message = `still running after ${session.entry?.job.timeout_seconds} s`
        this.#end(session, 'timed_out', message, nowMs, this.#options.stopGraceMs)
      }
      if (session.ending === null) continue
      session.ending.killAtMs ??= nowMs + this.#options.stopGraceMs
      session.ending.killing = nowMs >= session.ending.killAtMs
    }
  }

  /** Also what has ended stays until then: taken back, the settings could still report it. */
  #endFormer(session: Session, nowMs: number): void {
    const { deadlineMs } = session
    if (!this.#hasJoined && deadlineMs !== null && nowMs < deadlineMs) return
    this.#end(session, 'stopped', FORMER, nowMs, this.#options.stopGraceMs)
    session.released = true
  }

  /** The SIGKILL is due by the deadline, not by when somebody noticed: a daemon that was away has no time left to give. */
  #lapse(session: Session, deadlineMs: number, nowMs: number): void {
    session.deadlineMs = null
    const graceMs = deadlineMs + LEASE_KILL_MS - nowMs
    if (session.confirmed) {
      this.#end(session, 'stopped', 'the lease ran out: no sync got through in time', nowMs, graceMs)
    } else if (session.entry === null) {
      this.#end(session, 'stopped', 'found running, and nobody said to keep it', nowMs, graceMs)
    } else {
      this.#end(session, 'stopped', 'the offer ran out before it was confirmed', nowMs, 0)
    }
  }

  #list(found: readonly Found[], asOfMs: number, nowMs: number): void {
    const seen = new Set<string>()
    for (const one of found) {
      seen.add(one.session_id)
      let session = this.#sessions.get(one.session_id)
      if (session === undefined) {
        session = foundSession(one.session_id)
        this.#sessions.set(one.session_id, session)
        session.isFormer = one.isFormer ?? false
        if (this.#fenced.has(one.session_id)) this.#end(session, 'stopped', 'it was to be stopped', nowMs, 0)
      }
      recognise(session, one, nowMs)
      const unknownLease = session.phase.at === 'running' && session.deadlineMs === null && !session.confirmed
      if (unknownLease && session.ending === null) session.deadlineMs = nowMs + FOUND_LEASE_MS
    }
    for (const session of this.#sessions.values()) {
      // A former one may be on another Engine: it ends by being asked to.
      if (!seen.has(session.id) && !session.isFormer) missFromListing(session, asOfMs)
    }
    this.#inventory = 'complete'
    this.#expire(nowMs)
  }
}
