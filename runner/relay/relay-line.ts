import { WebSocket } from 'ws'
import { parseJson } from '../../protocol/json.ts'
import { PUBLISHER_PULSE, STREAM_CLOSE, STREAM_TEXT_LIMIT_BYTES, ToPublisher } from '../../protocol/stream.ts'
import { backoffMs } from '../api/backoff.ts'
import { explainTrouble } from '../api/classify.ts'
import { address, runnerPath } from '../api/client.ts'
import { agentFor, type WebsocketParts } from '../api/websocket.ts'
import { sleep, systemClock } from '../clock.ts'
import { Complaint, OUTAGE_REPEAT_MS } from '../complaint.ts'
import type { Log } from '../log.ts'
import type { RunnerMetrics } from '../telemetry/instruments.ts'
import { Pulse } from './pulse.ts'
import { bytesOf } from './received.ts'

/**
 * Viewers are told that the picture is gone and wait; it has to be back within three seconds of the network. So a dial
 * that gets no further for this long, or a pause between two of them, may not cost more than the half of it. It is the
 * time without any progress: connecting, TLS and the upgrade each have it to themselves.
 */
export const HANDSHAKE_TIMEOUT_MS = 2_000
export const REDIAL_CAP_MS = 1_000
export const REDIAL_FLOOR_MS = 100
/** A socket that lasted this long was a good one: the next failure counts as the first. */
const GOOD_SOCKET_MS = 10_000

export interface RelayLineParts extends WebsocketParts {
  readonly sessionId: string
  readonly log: Log
  readonly metrics: Pick<RunnerMetrics, 'relayFailed'>
  readonly onMessage: (message: ToPublisher) => void
  /** Whether the relay can be reached now. */
  readonly onOpen: (isOpen: boolean) => void
}

interface Outcome {
  /** The session is over, or somebody else has this line's place: it is not dialled again. */
  readonly over: boolean
  readonly reason: string
}

interface Connection {
  readonly socket: WebSocket
  readonly pulse: Pulse
}

/** The runner's websocket to the session's relay: dialled out, and dialled again whenever it breaks. */
export class RelayLine {
  readonly #parts: RelayLineParts
  #open: Connection | null = null

  constructor(parts: RelayLineParts) {
    this.#parts = parts
  }

  say(message: string): void {
    this.#open?.socket.send(message)
  }

  /** See `SendFrame`. */
  sendFrame(frame: Uint8Array, onLeft: () => void, onArrived: () => void): void {
    const open = this.#open
    if (open === null) {
      onLeft()
      onArrived()
      return
    }
    open.socket.send(frame, () => onLeft())
    open.pulse.ping(onArrived)
  }

  async run(signal: AbortSignal): Promise<void> {
    let failures = 0
    const outage = new Complaint(systemClock, this.#parts.log, OUTAGE_REPEAT_MS)
    while (!signal.aborted) {
      const began = performance.now()
      const { over, reason } = await this.#once(signal)
      this.#parts.onOpen(false)
      if (signal.aborted) return
      if (over) return this.#parts.log.info({ reason }, 'the relay has no more use for this line')
      this.#parts.metrics.relayFailed()
      const wasGood = performance.now() - began > GOOD_SOCKET_MS
      if (wasGood) outage.worked()
      failures = wasGood ? 1 : failures + 1
      const pauseMs = backoffMs(failures, REDIAL_FLOOR_MS, Math.random, REDIAL_CAP_MS)
      const line = { reason: explainTrouble(reason), retry_in_ms: Math.round(pauseMs) }
      outage.failed(line, 'relay connection lost: viewers see no picture until it is back')
      await sleep(pauseMs, signal)
    }
  }

  /** One connection, from its dial to its end. */
  #once(signal: AbortSignal): Promise<Outcome> {
    const { log, onOpen } = this.#parts
    const socket = this.#dial()
    return new Promise(resolve => {
      let reason = ''
      let over = false
      const pulse = new Pulse(
        () => socket.send(PUBLISHER_PULSE.ping),
        () => {
          reason = 'no pong in time'
          socket.terminate()
        },
      )
      const onAbort = () => (socket.readyState === WebSocket.OPEN ? socket.close(1000) : socket.terminate())
      signal.addEventListener('abort', onAbort)
      if (signal.aborted) socket.terminate()
      socket.on('open', () => {
        log.info('relay connected')
        this.#open = { socket, pulse }
        pulse.start()
        onOpen(true)
      })
      socket.on('message', (data, isBinary) => {
        if (!isBinary) this.#hear(new TextDecoder().decode(bytesOf(data)), pulse)
      })
      socket.on('unexpected-response', (request, response) => {
        reason = `refused with ${response.statusCode}`
        over = response.statusCode === 409
        request.destroy()
        response.destroy()
        socket.terminate()
      })
      socket.on('error', error => {
        reason = reason === '' ? error.message : reason
      })
      socket.on('close', code => {
        signal.removeEventListener('abort', onAbort)
        this.#open = null
        pulse.stop()
        over ||= code === STREAM_CLOSE.sessionEnded || code === STREAM_CLOSE.replaced
        resolve({ over, reason: reason === '' ? `closed with ${code}` : reason })
      })
    })
  }

  #dial(): WebSocket {
    const { config, membership, sessionId } = this.#parts
    const path = runnerPath(membership.identity, `sessions/${sessionId}/relay`)
    const url = address(config.CONTROL_PLANE_URL, path)
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    return new WebSocket(url, {
      agent: agentFor(url, config),
      headers: { authorization: `Bearer ${membership.identity.credential}` },
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      followRedirects: false,
      maxPayload: STREAM_TEXT_LIMIT_BYTES,
      perMessageDeflate: false,
    })
  }

  #hear(text: string, pulse: Pulse): void {
    if (text === PUBLISHER_PULSE.pong) return pulse.pong()
    const json = parseJson(text)
    const message = ToPublisher.safeParse(json.ok ? json.value : undefined)
    // A newer control plane may have more to say; what is not understood is not for this runner.
    if (message.success) this.#parts.onMessage(message.data)
  }
}
