import { accepted, type Refusal, type Result, refused } from '../../protocol/errors.ts'
import { STREAM_CLOSE, type ToViewer } from '../../protocol/stream.ts'
import type { Settings } from '../settings.ts'
import type { AlarmClock } from '../storage/alarm-clock.ts'
import type { ViewerAttachment } from './core/attachments.ts'
import { FRESH } from './core/flow.ts'
import { InputBudget } from './core/input-budget.ts'
import { type Course, courseAfter, type Joint, stateOf, waitEndsAt } from './core/joint.ts'
import { type Leaving, ONLY_WATCHES, REVOKED, UNREADABLE, whyFull, whyLeave } from './core/staying.ts'
import { CourseKeeper } from './course-keeper.ts'
import { FrameFan } from './frame-fan.ts'
import { type Log, logOf } from './log.ts'
import { fromViewer } from './messages.ts'
import { PoolReport } from './pool-report.ts'
import { PublisherSide } from './publisher-side.ts'
import type { RelayIdentity, StreamReport, TicketGrant } from './rpc.ts'
import { type RelaySockets, sendTo, type Viewer } from './sockets.ts'
import type { RelayRecord, RelayStore, Ticket } from './store.ts'

/** How often a relay looks for what nobody may have told it. */
export const LOOK_MS = {
  used: 10_000,
  /** Of one that nobody uses only the session's end is of interest. */
  idle: 3_600_000,
} as const
/** Rhythm of the looks that ask others: dead sessions, revoked keys, lost reports. */
const ASK_MS = 10_000
const REPORT_RETRY_MS = 1_000

/** What the object's runtime gives its relay. */
export interface RelayParts {
  readonly store: RelayStore
  readonly alarm: AlarmClock
  readonly sockets: RelaySockets
  readonly settings: Pick<Settings, 'SelfHosted__RelayConnectTimeoutSeconds' | 'SelfHosted__MaxViewers'>
  /** Whether anybody has asked for metrics. */
  readonly counts: boolean
  report(identity: RelayIdentity, report: StreamReport): Promise<Result<{ live: boolean }>>
  goodSources(tenantId: string, sources: readonly string[], now: number): Promise<ReadonlySet<string>>
  onOver(relay: AwakeRelay): Promise<void>
  inBackground(work: Promise<unknown>): void
}

/**
 * The joint of a session's publisher and its viewers, for as long as its object is awake.
 *
 * Whatever changes, `#settle` brings everybody up to date: viewers, the clock that runs against the runner, the pool.
 * The pool is told what there is again and again while anybody watches, and answers whether the session still lives;
 * so a report or a notice that got lost delays the truth and never changes it.
 */
export class AwakeRelay {
  readonly identity: RelayIdentity
  readonly #parts: RelayParts
  readonly #log: Log
  readonly #publisher: PublisherSide
  readonly #frames: FrameFan
  readonly #pool: PoolReport
  readonly #input = new InputBudget()
  readonly #keeper: CourseKeeper
  #course: Course
  #hasEnded = false
  /** See `StreamReport`; until somebody comes again. */
  #gaveUp = false
  /** When others were last asked; 0 for an object that has just woken. */
  #askedAt = 0

  constructor({ identity, course }: RelayRecord, parts: RelayParts) {
    this.identity = identity
    this.#course = course
    this.#keeper = new CourseKeeper(parts.store, course)
    this.#parts = parts
    this.#log = logOf(identity)
    this.#publisher = new PublisherSide(parts.sockets, this.#log)
    this.#frames = new FrameFan(parts.sockets, viewer => this.#hello(viewer))
    this.#pool = new PoolReport({
      facts: () => this.#facts(),
      send: report => parts.report(identity, report),
      onOver: () => parts.onOver(this),
      onFailure: reason => {
        if (this.#hasEnded) return
        this.#log('warn', 'relay_report_failed', { reason })
        parts.alarm.wakeBy(Date.now() + REPORT_RETRY_MS)
      },
    })
  }

  /** Who would find no room is told so before it dials: a browser does not learn why a socket is refused. */
  addTicket(grant: TicketGrant): Result<null> {
    const full = this.#whyFull(grant)
    if (full !== null) return { ok: false, error: full }
    this.#parts.store.addTicket(grant)
    this.#parts.alarm.wakeBy(grant.expires_at)
    return accepted(null)
  }

  revoke(source: string): void {
    this.#parts.store.dropTickets(source)
    this.#turnAway(({ state }) => (state.source === source ? REVOKED : null))
    this.#settle(Date.now())
  }

  joinPublisher(now: number): WebSocket {
    this.#gaveUp = false
    const client = this.#publisher.join(now)
    this.#count({ connections: 1, timeouts: 0 })
    this.#frames.forget()
    this.#publisher.demand(true)
    this.#settle(now)
    return client
  }

  joinViewer(runId: string, ticketHash: string, now: number): Result<WebSocket> {
    const { store, sockets, alarm } = this.#parts
    const ticket = store.takeTicket(ticketHash, now)
    if (ticket === null || runId !== this.identity.run_id) {
      return refused('unauthenticated', 'the ticket was used, has expired, or is not for this run')
    }
    const full = this.#whyFull(ticket)
    if (full !== null) return { ok: false, error: full }
    const { 0: client, 1: server } = new WebSocketPair()
    const viewer = sockets.addViewer(server, this.#newcomer(ticket))
    this.#gaveUp = false
    alarm.wakeBy(ticket.source_expires_at)
    const { mode, source } = ticket
    this.#log('info', 'relay_viewer_joined', { mode, source, viewers: sockets.viewerCount })
    this.#greet(viewer, now)
    return accepted(client)
  }

  hear(socket: WebSocket, message: string | ArrayBuffer): void {
    const { sockets } = this.#parts
    const viewer = sockets.viewer(socket)
    if (viewer !== null) this.#hearViewer(viewer, message)
    // Neither: it is closing, and what was on its way from it counts no more.
    else if (sockets.publisher?.socket === socket) this.#hearPublisher(message)
  }

  /** Its other end has closed the socket, or it broke. */
  gone(socket: WebSocket, code: number): void {
    const { sockets } = this.#parts
    sockets.forget(socket)
    if (sockets.roleOf(socket) === 'publisher') {
      this.#log('info', 'relay_publisher_left', { code })
    } else {
      this.#log('info', 'relay_viewer_left', { code, viewers: sockets.viewerCount })
      this.#publisher.demand(false)
    }
    this.#settle(Date.now())
  }

  /** For everything that becomes due, and that nobody may have told. */
  async look(now: number): Promise<void> {
    const { alarm, store, sockets } = this.#parts
    alarm.wakeBy(store.sweepTickets(now))
    this.#turnAway(({ socket, state }) => whyLeave(state, sockets.pingedAt(socket), now))
    this.#publisher.dropIfSilent(now)
    const waitEnd = waitEndsAt(this.#course, this.#connectTimeoutMs())
    if (waitEnd !== null && now >= waitEnd) this.#giveUpOnPublisher()
    const asks = now >= this.#askedAt + ASK_MS
    if (asks) this.#pool.forget()
    this.#settle(now)
    if (!asks) return
    this.#askedAt = now
    await this.#pool.tell()
    await this.#turnAwayRevoked(now)
  }

  lookAgain(now: number): void {
    const { alarm, sockets } = this.#parts
    alarm.wakeBy(now + (sockets.isEmpty ? LOOK_MS.idle : LOOK_MS.used))
    if (sockets.viewerCount > 0) alarm.wakeBy(this.#publisher.silentAt)
    alarm.wakeBy(waitEndsAt(this.#course, this.#connectTimeoutMs()))
    for (const { state } of sockets.viewers()) alarm.wakeBy(state.until)
  }

  /** Nothing that is still on its way changes anything after this. */
  end(): void {
    const { sockets } = this.#parts
    this.#hasEnded = true
    this.#log('info', 'relay_session_ended', { viewers: sockets.viewerCount })
    for (const { socket } of sockets.viewers()) sendTo(socket, { type: 'state', stream: 'ended' })
    sockets.closeAll(STREAM_CLOSE.sessionEnded, `session ${this.identity.session_id} has ended`)
  }

  #whyFull(source: Pick<Ticket, 'source' | 'source_max_viewers'>): Refusal | null {
    const { sockets, settings } = this.#parts
    const watching = { all: sockets.viewerCount, ofSource: sockets.viewersFrom(source.source) }
    return whyFull(source, watching, settings.SelfHosted__MaxViewers)
  }

  #newcomer({ mode, source, source_expires_at }: Ticket): ViewerAttachment {
    const { width = null, height = null } = this.#parts.sockets.publisher?.state ?? {}
    return { role: 'viewer', mode, source, until: source_expires_at, flow: FRESH, width, height }
  }

  /** State and last picture at once; the rest follows. */
  #greet(viewer: Viewer, now: number): void {
    sendTo(viewer.socket, this.#hello(viewer.state))
    const { said } = this.#course
    this.#settle(now)
    // A change has been told to everybody just now.
    if (this.#course.said === said) sendTo(viewer.socket, said)
    this.#frames.greet(viewer, now)
    this.#publisher.demand(!this.#frames.hasFrame)
  }

  #hello({ mode, width, height }: ViewerAttachment): ToViewer {
    return { type: 'hello', mode, session_id: this.identity.session_id, width, height }
  }

  #hearPublisher(message: string | ArrayBuffer): void {
    const { sockets } = this.#parts
    const frame = this.#publisher.hear(message)
    const now = Date.now()
    if (frame === null) return this.#settle(now)
    if (sockets.publisher === null) return
    if (!sockets.publisher.state.framed) {
      sockets.updatePublisher({ framed: true, blank: null })
      this.#settle(now)
    }
    this.#frames.pass(frame, now)
    this.#publisher.pauseIfUntaken(now)
  }

  #hearViewer(viewer: Viewer, message: string | ArrayBuffer): void {
    const heard = fromViewer(message)
    if (heard?.type === 'ack') return this.#acknowledged(viewer, heard.seq)
    if (heard !== null && viewer.state.mode === 'control') {
      const characters = typeof message === 'string' ? message.length : 0
      if (this.#input.spend(viewer.socket, characters, Date.now())) this.#publisher.input(heard)
      return
    }
    const leaving = heard === null ? UNREADABLE : ONLY_WATCHES
    this.#turnAway(one => (one === viewer ? leaving : null))
    this.#settle(Date.now())
  }

  #acknowledged(viewer: Viewer, seq: number): void {
    const outcome = this.#frames.acknowledged(viewer, seq, Date.now())
    if (outcome === 'ignored') return
    if (outcome === 'short' || this.#publisher.isPaused) this.#publisher.demand(true)
  }

  #settle(now: number): void {
    if (this.#hasEnded) return
    const { sockets, inBackground } = this.#parts
    const before = this.#course
    const course = courseAfter(before, this.#joint(), now)
    this.#course = course
    this.#keeper.keep(course, now)
    if (course.said !== before.said) {
      for (const { socket } of sockets.viewers()) sendTo(socket, course.said)
    }
    this.lookAgain(now)
    inBackground(this.#pool.tell())
  }

  #joint(): Joint {
    const { publisher, viewerCount } = this.#parts.sockets
    return {
      viewers: viewerCount,
      publisher: publisher !== null,
      framed: publisher?.state.framed === true,
      blank: publisher?.state.blank ?? null,
    }
  }

  #facts(): StreamReport {
    const joint = this.#joint()
    const { counts, store } = this.#parts
    const facts = {
      viewers: joint.viewers,
      publisher: joint.publisher,
      state: stateOf(joint),
      gave_up: this.#gaveUp,
    }
    return counts ? { ...facts, counts: { ...store.counts(), frames_dropped: this.#frames.dropped } } : facts
  }

  #count(more: { readonly connections: number; readonly timeouts: number }): void {
    const { counts, store } = this.#parts
    if (counts) store.count(more)
  }

  #connectTimeoutMs(): number {
    return this.#parts.settings.SelfHosted__RelayConnectTimeoutSeconds * 1000
  }

  #giveUpOnPublisher(): void {
    const waited_seconds = this.#parts.settings.SelfHosted__RelayConnectTimeoutSeconds
    const viewers = this.#parts.sockets.viewerCount
    this.#count({ connections: 1, timeouts: 1 })
    this.#log('warn', 'relay_connect_timeout', { waited_seconds, viewers })
    const reason = `the runner did not connect within ${waited_seconds} s`
    this.#turnAway(() => ({ code: STREAM_CLOSE.publisherTimeout, reason }))
    this.#gaveUp = true
  }

  /** Whoever was watching by a key or link that is no longer good, should the notice of it have been lost. */
  async #turnAwayRevoked(now: number): Promise<void> {
    if (this.#hasEnded) return
    const { sockets, goodSources } = this.#parts
    const sources = new Set([...sockets.viewers()].map(({ state }) => state.source))
    const good = await goodSources(this.identity.tenant_id, [...sources], now)
    this.#turnAway(({ state: { source } }) => (sources.has(source) && !good.has(source) ? REVOKED : null))
    this.#settle(now)
  }

  #turnAway(why: (viewer: Viewer) => Leaving | null): void {
    const { sockets } = this.#parts
    let anybody = false
    for (const viewer of sockets.viewers()) {
      const leaving = why(viewer)
      if (leaving === null) continue
      anybody = true
      this.#log('info', 'relay_viewer_turned_away', { source: viewer.state.source, ...leaving })
      sockets.close(viewer.socket, leaving.code, leaving.reason)
    }
    if (anybody) this.#publisher.demand(false)
  }
}
