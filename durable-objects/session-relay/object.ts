import { DurableObject } from 'cloudflare:workers'
import { accepted, type Refusal, type Result, refused } from '../../protocol/errors.ts'
import { parseJson } from '../../protocol/json.ts'
import { PUBLISHER_PULSE, STREAM_CLOSE, STREAM_SUBPROTOCOL } from '../../protocol/stream.ts'
import { echoClose } from '../echo-close.ts'
import { reasonOf } from '../log.ts'
import { otlpTarget, parseSettings } from '../settings.ts'
import { AlarmClock } from '../storage/alarm-clock.ts'
import { DurableSql } from '../storage/durable-sql.ts'
import { AwakeRelay, LOOK_MS, type RelayParts } from './awake-relay.ts'
import { logOf } from './log.ts'
import {
  isSameSession,
  RELAY_HEADERS,
  RelayIdentity,
  type SessionRelayRpc,
  type StreamReport,
  type TicketGrant,
} from './rpc.ts'
import { RelaySockets } from './sockets.ts'
import { goodSources } from './sources.ts'
import { type RelayRecord, RelayStore } from './store.ts'

/**
 * One object per session joins its publisher, the runner, to its viewers; `AwakeRelay` is that joint, and this is what
 * the runtime sees of it. It may be evicted between any two messages: what a viewer was sent is in its socket's
 * attachment, who waits since when is in storage, and the last frame, which is only memory, is asked for again.
 */

interface SessionRelayEnv {
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

export class SessionRelay extends DurableObject<SessionRelayEnv> implements SessionRelayRpc {
  readonly #parts: RelayParts
  /** Null while there is nothing here: never initialised, or ended. */
  #relay: AwakeRelay | null = null

  constructor(ctx: DurableObjectState, env: SessionRelayEnv) {
    super(ctx, env)
    const parsed = parseSettings({ ...env })
    if (!parsed.ok) throw new Error(`settings are not valid: ${parsed.problems.join('; ')}`)
    this.#parts = {
      store: new RelayStore(new DurableSql(ctx.storage.sql)),
      // Frames do not wait for the disk: an alarm that is lost is armed again by the next message or the next wake.
      alarm: new AlarmClock(ctx.storage, { allowUnconfirmed: true }),
      sockets: new RelaySockets(ctx),
      settings: parsed.settings,
      counts: otlpTarget(parsed.settings) !== null,
      report: ({ pool_id, run_id, session_id }, report) =>
        this.env.RUNNER_POOL.getByName(pool_id).streamChanged(run_id, session_id, report),
      goodSources: (tenantId, sources, now) => goodSources(this.env.DB, tenantId, sources, now),
      onOver: relay => this.#end(relay),
      inBackground: work => ctx.waitUntil(work),
    }
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair(PUBLISHER_PULSE.ping, PUBLISHER_PULSE.pong))
    ctx.blockConcurrencyWhile(async () => {
      const { store, alarm } = this.#parts
      const record = store.open()
      if (record === null) return
      this.#open(record)
      // An alarm that was lost, or never armed before a crash, is made good here.
      if ((await alarm.load()) === null) alarm.wakeBy(Date.now() + LOOK_MS.used)
    })
  }

  async admit(grant: TicketGrant): Promise<Result<null>> {
    const relay = this.#openFor(grant)
    return relay.ok ? relay.value.addTicket(grant) : relay
  }

  async revoke(source: string): Promise<void> {
    this.#relay?.revoke(source)
  }

  async sessionEnded(): Promise<void> {
    if (this.#relay !== null) await this.#end(this.#relay)
  }

  /** The upgrades. Everything in the headers was set by the Worker. */
  override async fetch(request: Request): Promise<Response> {
    const isPublisher = request.headers.get(RELAY_HEADERS.role) === 'publisher'
    const joined = isPublisher ? this.#joinPublisher(request) : this.#joinViewer(request)
    if (!joined.ok) return refusalResponse(joined.error)
    const headers = isPublisher ? {} : { 'sec-websocket-protocol': STREAM_SUBPROTOCOL }
    return new Response(null, { status: 101, webSocket: joined.value, headers })
  }

  override async webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    if (this.#relay !== null) this.#relay.hear(socket, message)
    else this.#parts.sockets.close(socket, STREAM_CLOSE.sessionEnded, 'the session has ended')
  }

  override async webSocketClose(socket: WebSocket, code: number): Promise<void> {
    this.#relay?.gone(socket, code)
    echoClose(socket, code)
  }

  override async webSocketError(socket: WebSocket): Promise<void> {
    this.#relay?.gone(socket, 1006)
  }

  /** Never throws, because a throw is retried on a schedule of the platform's own. */
  override async alarm(): Promise<void> {
    this.#parts.alarm.disarmed()
    const relay = this.#relay
    if (relay === null) return
    try {
      await relay.look(Date.now())
    } catch (error) {
      logOf(relay.identity)('error', 'relay_alarm_failed', { reason: reasonOf(error) })
    }
    if (this.#relay === relay) relay.lookAgain(Date.now())
  }

  #joinPublisher(request: Request): Result<WebSocket> {
    const json = parseJson(request.headers.get(RELAY_HEADERS.identity) ?? '')
    const identity = RelayIdentity.safeParse(json.ok ? json.value : undefined)
    if (!identity.success) return refused('invalid_request', 'the session is not named')
    const relay = this.#openFor(identity.data)
    return relay.ok ? accepted(relay.value.joinPublisher(Date.now())) : relay
  }

  #joinViewer(request: Request): Result<WebSocket> {
    const runId = request.headers.get(RELAY_HEADERS.runId)
    const hash = request.headers.get(RELAY_HEADERS.ticketHash)
    if (this.#relay === null || runId === null || hash === null) {
      return refused('unauthenticated', 'nobody was given a ticket for this session')
    }
    return this.#relay.joinViewer(runId, hash, Date.now())
  }

  /** Nothing is written before the first ticket or publisher names the session. */
  #openFor(identity: RelayIdentity): Result<AwakeRelay> {
    const { store } = this.#parts
    const relay =
      this.#relay ?? this.#open(this.ctx.storage.transactionSync(() => store.initialise(identity)))
    return isSameSession(relay.identity, identity)
      ? accepted(relay)
      : refused('session_ended', 'the session is of another run')
  }

  #open(record: RelayRecord): AwakeRelay {
    this.#relay = new AwakeRelay(record, this.#parts)
    return this.#relay
  }

  async #end(relay: AwakeRelay): Promise<void> {
    if (this.#relay !== relay) return
    this.#relay = null
    relay.end()
    this.#parts.alarm.disarmed()
    // Both before anything else is served: a ticket that comes late finds an object that is new again.
    await Promise.all([this.ctx.storage.deleteAlarm(), this.ctx.storage.deleteAll()])
  }
}

function refusalResponse(refusal: Refusal): Response {
  return Response.json(refusal, { status: 400 })
}
