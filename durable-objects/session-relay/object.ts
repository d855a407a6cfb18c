import { DurableObject } from 'cloudflare:workers'
import { accepted, type Refusal, type Result, refused } from '../../protocol/errors.ts'
import { parseJson } from '../../protocol/json.ts'
import {
  type Demand,
  decodeFrame,
  FromPublisher,
  FromViewer,
  STREAM_CLOSE,
  STREAM_SUBPROTOCOL,
  STREAM_TEXT_LIMIT_BYTES,
} from '../../protocol/stream.ts'
import { reasonOf as faultOf, logLine } from '../log.ts'
import { AlarmClock } from '../runner-pool/alarm.ts'
import { DurableSql } from '../runner-pool/durable-sql.ts'
import { parseSettings, type Settings } from '../settings.ts'
import type { PublisherAttachment, ViewerAttachment } from './core/attachments.ts'
import { acknowledge, give } from './core/flow.ts'
import { InputBudget } from './core/input-budget.ts'
import { type Joint, reasonOf, stateOf } from './core/stream-state.ts'
import {
  RELAY_HEADERS,
  type SessionIdentity,
  type SessionRelayRpc,
  type StreamReport,
  type TicketGrant,
} from './rpc.ts'
import { RelaySockets, sendTo } from './sockets.ts'
import { goodSources } from './sources.ts'
import { type RelayRecord, RelayStore, type Ticket } from './store.ts'

/**
 * One object per session joins its publisher, the runner, to its viewers.
 *
 * It may be evicted between any two messages: what a viewer was sent is in its socket's attachment, who waits since
 * when is in storage, and the last frame, which is only memory, is asked for again. The pool's object is told what
 * there is, again and again while anybody watches, and answers whether the session still lives; so a report or a
 * notice that got lost delays the truth and never changes it.
 */

const MAX_FPS = 30
/** Rhythm of the look at everything that nobody may have told: dead sessions, revoked keys, lost reports. */
const RECHECK_MS = 10_000
/** A relay nobody uses looks this often whether its session has ended without its hearing of it. */
const IDLE_RECHECK_MS = 3_600_000
const REPORT_RETRY_MS = 1_000
/** A viewer that has acknowledged nothing for so long is gone, whatever its socket says. */
const STALLED_LIMIT_MS = 300_000

export interface SessionRelayEnv {
  readonly DB: D1Database
  readonly RUNNER_POOL: {
    getByName(poolId: string): {
      streamChanged(
        runId: string,
        sessionId: string,
        report: StreamReport,
      ): Promise<Result<{ live: boolean }>>
    }
  }
}

interface LastFrame {
  readonly seq: number
  readonly bytes: Uint8Array<ArrayBuffer>
}

export class SessionRelay extends DurableObject<SessionRelayEnv> implements SessionRelayRpc {
  readonly #settings: Settings
  readonly #store: RelayStore
  readonly #alarm: AlarmClock
  readonly #sockets: RelaySockets
  readonly #input = new InputBudget()
  #relay: RelayRecord | null = null
  #lastFrame: LastFrame | null = null
  /** The state as the viewers last heard it, and the report as the pool last took it. */
  #said = ''
  #reported = ''
  #reporting: Promise<void> | null = null

  constructor(ctx: DurableObjectState, env: SessionRelayEnv) {
    super(ctx, env)
    const parsed = parseSettings({ ...env })
    if (!parsed.ok) throw new Error(`settings are not valid: ${parsed.problems.join('; ')}`)
    this.#settings = parsed.settings
    this.#store = new RelayStore(new DurableSql(ctx.storage.sql))
    this.#alarm = new AlarmClock(ctx.storage)
    this.#sockets = new RelaySockets(ctx)
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair('ping', 'pong'))
    ctx.blockConcurrencyWhile(async () => {
      this.#relay = this.#store.open()
      if (this.#relay === null) return
      this.#said = this.#stateMessage(this.#relay)
      if ((await this.#alarm.load()) === null) this.#alarm.wakeBy(Date.now() + RECHECK_MS)
    })
  }

  async admit(grant: TicketGrant): Promise<Result<null>> {
    return this.ctx.storage.transactionSync(() => {
      if (this.#opened(grant) === null) return refused('conflict', 'the session belongs to another run')
      this.#store.addTicket(grant)
      this.#alarm.wakeBy(grant.expires_at)
      return accepted(null)
    })
  }

  async revoke(source: string): Promise<void> {
    if (this.#relay === null) return
    this.#store.dropTickets(source)
    for (const { socket, state } of this.#sockets.viewers()) {
      if (state.source === source) this.#turnAway(socket, 'leave to watch was revoked')
    }
    this.#settle()
  }

  async sessionEnded(): Promise<void> {
    if (this.#relay === null) return
    await this.#end(this.#relay)
  }

  /** The upgrades. Everything in the headers was set by the Worker. */
  override async fetch(request: Request): Promise<Response> {
    const role = request.headers.get(RELAY_HEADERS.role)
    const admitted = role === 'publisher' ? this.#admitPublisher(request) : this.#admitViewer(request)
    if (!admitted.ok) return Response.json(admitted.error, { status: 400 })
    const headers = role === 'publisher' ? {} : { 'sec-websocket-protocol': STREAM_SUBPROTOCOL }
    return new Response(null, { status: 101, webSocket: admitted.value, headers })
  }

  override async webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    const state = this.#sockets.of(socket)
    if (this.#relay === null || state === null) {
      this.#sockets.close(socket, STREAM_CLOSE.sessionEnded, 'the session has ended')
    } else if (state.role === 'publisher') {
      if (typeof message === 'string') this.#hearPublisher(socket, state, message)
      else this.#relayFrame(socket, state, new Uint8Array(message))
    } else {
      this.#hearViewer(socket, state, message)
    }
  }

  override async webSocketClose(socket: WebSocket, code: number): Promise<void> {
    // 1005, 1006 and 1015 only describe a close; they may not be sent.
    const sendable = code !== 1005 && code !== 1006 && code !== 1015
    if (socket.readyState !== WebSocket.CLOSED) socket.close(sendable ? code : 1000)
    this.#gone(socket, code)
  }

  override async webSocketError(socket: WebSocket): Promise<void> {
    this.#gone(socket, 1006)
  }

  override async alarm(): Promise<void> {
    this.#alarm.disarmed()
    const relay = this.#relay
    if (relay === null) return
    try {
      const now = Date.now()
      this.#alarm.wakeBy(this.#store.sweepTickets(now))
      this.#turnAwayExpired(now)
      if (this.#hasWaitedTooLong(relay, now)) this.#giveUpOnPublisher(relay)
      this.#reported = ''
      this.#settle()
      await this.#reporting
      if (this.#relay !== null) await this.#turnAwayRevoked(relay, now)
    } catch (error) {
      this.#log('error', 'relay_alarm_failed', { reason: faultOf(error) })
    }
    if (this.#relay !== null) this.#alarm.wakeBy(Date.now() + (this.#isUsed() ? RECHECK_MS : IDLE_RECHECK_MS))
  }

  #opened(identity: SessionIdentity): RelayRecord | null {
    this.#relay ??= this.#store.initialise(identity)
    const { tenant_id, pool_id, run_id, session_id } = this.#relay
    const same =
      tenant_id === identity.tenant_id &&
      pool_id === identity.pool_id &&
      run_id === identity.run_id &&
      session_id === identity.session_id
    return same ? this.#relay : null
  }

  #admitPublisher(request: Request): Result<WebSocket> {
    const identity = JSON.parse(request.headers.get(RELAY_HEADERS.identity) ?? 'null') as SessionIdentity
    const opened = this.ctx.storage.transactionSync(() => this.#opened(identity))
    if (opened === null) return refused('session_ended', 'the session belongs to another run')
    const before = this.#sockets.publisher()
    const { 0: client, 1: server } = new WebSocketPair()
    const connected_at = Math.max(Date.now(), (before?.state.connected_at ?? 0) + 1)
    this.#sockets.addPublisher(server, {
      role: 'publisher',
      connected_at,
      framed: false,
      width: before?.state.width ?? null,
      height: before?.state.height ?? null,
    })
    if (before !== null)
      this.#sockets.close(before.socket, STREAM_CLOSE.replaced, 'replaced by a newer connection')
    this.#lastFrame = null
    this.#log('info', 'relay_publisher_connected', { replaced: before !== null })
    this.#demand(true)
    this.#settle()
    return accepted(client)
  }

  #admitViewer(request: Request): Result<WebSocket> {
    const relay = this.#relay
    const hash = request.headers.get(RELAY_HEADERS.ticketHash) ?? ''
    const ticket = relay === null ? null : this.#store.takeTicket(hash, Date.now())
    if (relay === null || ticket === null || relay.run_id !== request.headers.get(RELAY_HEADERS.runId)) {
      return refused(
        'unauthenticated',
        'the ticket is not good for this run: it was used, has expired or never was',
      )
    }
    const full = this.#isFull(ticket)
    if (full !== null) return { ok: false, error: full }
    const { 0: client, 1: server } = new WebSocketPair()
    const state: ViewerAttachment = {
      role: 'viewer',
      mode: ticket.mode,
      source: ticket.source,
      until: ticket.source_expires_at,
      in_flight: [],
      last: null,
      stalled_at: null,
    }
    this.#sockets.addViewer(server, state)
    this.#log('info', 'relay_viewer_joined', { mode: ticket.mode, source: ticket.source })
    if (ticket.source_expires_at !== null) this.#alarm.wakeBy(ticket.source_expires_at)
    this.#greet(server, state)
    return accepted(client)
  }

  #isFull({ source, source_max_viewers }: Ticket): Refusal | null {
    const limit = this.#settings.SelfHosted__MaxViewers
    if (this.#sockets.viewerCount >= limit) {
      return { code: 'conflict', detail: `${limit} viewers are watching already, the most there may be` }
    }
    if (source_max_viewers !== null && this.#sockets.viewersFrom(source) >= source_max_viewers) {
      return { code: 'conflict', detail: `${source_max_viewers} viewers are using this link already` }
    }
    return null
  }

  /** State and last picture at once; the rest follows. */
  #greet(socket: WebSocket, state: ViewerAttachment): void {
    const relay = this.#relay
    if (relay === null) return
    const publisher = this.#sockets.publisher()?.state
    sendTo(socket, {
      type: 'hello',
      mode: state.mode,
      session_id: relay.session_id,
      width: publisher?.width ?? null,
      height: publisher?.height ?? null,
    })
    const before = this.#said
    this.#settle()
    // A change has been told to everybody just now.
    if (this.#said === before) socket.send(before)
    if (this.#lastFrame !== null) this.#give(socket, state, this.#lastFrame)
    this.#demand(this.#lastFrame === null)
  }

  #relayFrame(socket: WebSocket, state: PublisherAttachment, bytes: Uint8Array<ArrayBuffer>): void {
    const frame = decodeFrame(bytes)
    if (frame === null)
      return this.#refusePublisher(socket, 'the runner sent what is not a frame of this protocol')
    this.#lastFrame = { seq: frame.seq, bytes }
    if (!state.framed) {
      this.#sockets.update(socket, { ...state, framed: true })
      this.#settle()
    }
    for (const viewer of this.#sockets.viewers()) this.#give(viewer.socket, viewer.state, this.#lastFrame)
  }

  #give(socket: WebSocket, state: ViewerAttachment, frame: LastFrame): void {
    const given = give({ inFlight: state.in_flight, last: state.last }, frame.seq)
    if (given === null) return
    const { flow, skipped } = given
    // Before sending: an object that forgets in between must not believe that there is credit left.
    const stalled_at = give(flow, frame.seq) === null ? Date.now() : null
    this.#sockets.update(socket, { ...state, in_flight: [...flow.inFlight], last: flow.last, stalled_at })
    if (skipped > 0) sendTo(socket, { type: 'gap', skipped })
    sendTo(socket, frame.bytes)
  }

  #hearPublisher(socket: WebSocket, state: PublisherAttachment, text: string): void {
    const message = readMessage(text, FromPublisher)
    if (message === null)
      return this.#refusePublisher(socket, 'the runner sent a message that is not of this protocol')
    this.#sockets.update(socket, { ...state, width: message.width, height: message.height })
    for (const { socket: to, state: viewer } of this.#sockets.viewers()) {
      sendTo(to, {
        type: 'hello',
        mode: viewer.mode,
        session_id: this.#relay?.session_id ?? '',
        width: message.width,
        height: message.height,
      })
    }
  }

  #hearViewer(socket: WebSocket, state: ViewerAttachment, message: string | ArrayBuffer): void {
    const heard = typeof message === 'string' ? readMessage(message, FromViewer) : null
    if (heard === null) {
      this.#sockets.close(socket, STREAM_CLOSE.malformed, 'a message that is not of this protocol')
      this.#settle()
      return
    }
    if (heard.type === 'ack') return this.#acknowledged(socket, state, heard.seq)
    if (state.mode !== 'control') {
      this.#sockets.close(socket, STREAM_CLOSE.forbidden, 'this viewer may only watch')
      this.#settle()
      return
    }
    const publisher = this.#sockets.publisher()
    if (publisher !== null && this.#input.spend(socket, Date.now())) sendTo(publisher.socket, heard)
  }

  #acknowledged(socket: WebSocket, state: ViewerAttachment, seq: number): void {
    const flow = acknowledge({ inFlight: state.in_flight, last: state.last }, seq)
    if (flow.inFlight.length === state.in_flight.length) return
    const next: ViewerAttachment = { ...state, in_flight: [...flow.inFlight], stalled_at: null }
    const newest = this.#lastFrame
    if (newest !== null && newest.seq !== flow.last) return this.#give(socket, next, newest)
    this.#sockets.update(socket, next)
  }

  #refusePublisher(socket: WebSocket, reason: string): void {
    this.#log('warn', 'relay_publisher_refused', { reason })
    this.#sockets.close(socket, STREAM_CLOSE.malformed, reason)
    this.#settle()
  }

  #gone(socket: WebSocket, code: number): void {
    const state = this.#sockets.of(socket)
    this.#sockets.forget(socket)
    if (state === null || this.#relay === null) return
    if (state.role === 'viewer') {
      this.#log('info', 'relay_viewer_left', { code, viewers: this.#sockets.viewerCount })
      this.#demand(false)
    } else {
      this.#log('info', 'relay_publisher_left', { code })
    }
    this.#settle()
  }

  #demand(refresh: boolean): void {
    const publisher = this.#sockets.publisher()
    if (publisher === null) return
    const viewers = this.#sockets.viewerCount
    const demand: Demand = { type: 'demand', viewers, max_fps: MAX_FPS, refresh: refresh && viewers > 0 }
    sendTo(publisher.socket, demand)
  }

  /** Brings everybody up to date after anything changed: viewers, the clock that runs against the runner, the pool. */
  #settle(): void {
    const relay = this.#relay
    if (relay === null) return
    const joint = this.#joint()
    const waits = joint.viewers > 0 && !joint.publisher
    const waitingSince = waits ? (relay.waitingSince ?? Date.now()) : null
    const wasLive = relay.wasLive || stateOf(joint) === 'live'
    if (waitingSince !== relay.waitingSince || wasLive !== relay.wasLive) {
      relay.waitingSince = waitingSince
      relay.wasLive = wasLive
      this.#store.save(relay)
    }
    if (waitingSince !== null) this.#alarm.wakeBy(waitingSince + this.#connectTimeoutMs())
    if (this.#isUsed()) this.#alarm.wakeBy(Date.now() + RECHECK_MS)
    const message = this.#stateMessage(relay)
    if (message !== this.#said) {
      this.#said = message
      for (const { socket } of this.#sockets.viewers()) socket.send(message)
    }
    this.#report(relay)
  }

  #joint(): Joint {
    const publisher = this.#sockets.publisher()
    return {
      viewers: this.#sockets.viewerCount,
      publisher: publisher !== null,
      framed: publisher?.state.framed === true,
      ended: false,
    }
  }

  #stateMessage(relay: RelayRecord): string {
    const joint = this.#joint()
    const state = stateOf(joint)
    const reason = reasonOf(joint, relay.wasLive)
    return JSON.stringify({
      type: 'state',
      stream: state === 'off' ? 'connecting' : state,
      ...(reason && { reason }),
    })
  }

  #isUsed(): boolean {
    return this.#sockets.all().length > 0
  }

  /** One at a time and always with the newest facts. */
  #report(relay: RelayRecord): void {
    if (this.#reporting !== null) return
    this.#reporting = this.#reportAll(relay).finally(() => {
      this.#reporting = null
    })
    this.ctx.waitUntil(this.#reporting)
  }

  async #reportAll(relay: RelayRecord): Promise<void> {
    try {
      for (;;) {
        const joint = this.#joint()
        const report = { viewers: joint.viewers, publisher: joint.publisher, state: stateOf(joint) }
        const text = JSON.stringify(report)
        if (text === this.#reported || this.#relay === null) return
        const heard = await this.env.RUNNER_POOL.getByName(relay.pool_id).streamChanged(
          relay.run_id,
          relay.session_id,
          report,
        )
        this.#reported = text
        const isOver = heard.ok ? !heard.value.live : heard.error.code === 'not_found'
        if (isOver) return await this.#end(relay)
      }
    } catch (error) {
      this.#log('warn', 'relay_report_failed', { reason: faultOf(error) })
      this.#alarm.wakeBy(Date.now() + REPORT_RETRY_MS)
    }
  }

  #connectTimeoutMs(): number {
    return this.#settings.SelfHosted__RelayConnectTimeoutSeconds * 1000
  }

  #hasWaitedTooLong(relay: RelayRecord, now: number): boolean {
    return relay.waitingSince !== null && now >= relay.waitingSince + this.#connectTimeoutMs()
  }

  #giveUpOnPublisher(relay: RelayRecord): void {
    const seconds = this.#settings.SelfHosted__RelayConnectTimeoutSeconds
    this.#log('warn', 'relay_connect_timeout', {
      waited_seconds: seconds,
      viewers: this.#sockets.viewerCount,
    })
    for (const { socket } of this.#sockets.viewers()) {
      this.#sockets.close(
        socket,
        STREAM_CLOSE.publisherTimeout,
        `the runner did not connect within ${seconds} s`,
      )
    }
    relay.waitingSince = null
    this.#store.save(relay)
  }

  #turnAwayExpired(now: number): void {
    for (const { socket, state } of this.#sockets.viewers()) {
      if (state.until !== null && state.until <= now) this.#turnAway(socket, 'leave to watch has expired')
      else if (state.until !== null) this.#alarm.wakeBy(state.until)
      const isGone = state.stalled_at !== null && state.stalled_at + STALLED_LIMIT_MS <= now
      if (isGone) this.#sockets.close(socket, 1001, 'nothing was acknowledged for five minutes')
    }
  }

  /** Whoever was watching by a key or link that is no longer good, should the notice of it have been lost. */
  async #turnAwayRevoked(relay: RelayRecord, now: number): Promise<void> {
    const sources = new Set(this.#sockets.viewers().map(({ state }) => state.source))
    const good = await goodSources(this.env.DB, relay.tenant_id, [...sources], now)
    for (const { socket, state } of this.#sockets.viewers()) {
      const isRevoked = sources.has(state.source) && !good.has(state.source)
      if (isRevoked) this.#turnAway(socket, 'leave to watch was revoked')
    }
    this.#settle()
  }

  #turnAway(socket: WebSocket, reason: string): void {
    this.#log('info', 'relay_viewer_turned_away', { reason })
    this.#sockets.close(socket, STREAM_CLOSE.unauthenticated, reason)
  }

  async #end(relay: RelayRecord): Promise<void> {
    this.#log('info', 'relay_session_ended', { viewers: this.#sockets.viewerCount })
    for (const { socket } of this.#sockets.viewers()) sendTo(socket, { type: 'state', stream: 'ended' })
    for (const socket of this.#sockets.all()) {
      this.#sockets.close(socket, STREAM_CLOSE.sessionEnded, `session ${relay.session_id} has ended`)
    }
    this.#relay = null
    this.#lastFrame = null
    this.#alarm.disarmed()
    await this.ctx.storage.deleteAlarm()
    await this.ctx.storage.deleteAll()
  }

  #log(level: 'info' | 'warn' | 'error', event: string, fields: Parameters<typeof logLine>[2] = {}): void {
    const relay = this.#relay
    const ids =
      relay === null ? {} : { pool_id: relay.pool_id, run_id: relay.run_id, session_id: relay.session_id }
    logLine(level, event, { ...ids, ...fields })
  }
}

function readMessage<T>(
  text: string,
  schema: { safeParse(value: unknown): { success: true; data: T } | { success: false } },
): T | null {
  if (text.length > STREAM_TEXT_LIMIT_BYTES) return null
  const json = parseJson(text)
  const parsed = schema.safeParse(json.ok ? json.value : undefined)
  return parsed.success ? parsed.data : null
}
