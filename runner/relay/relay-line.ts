import { WebSocket } from 'ws'
import { parseJson } from '../../protocol/json.ts'
import { STREAM_CLOSE, STREAM_TEXT_LIMIT_BYTES, ToPublisher } from '../../protocol/stream.ts'
import { backoffMs } from '../api/backoff.ts'
import { address, runnerPath } from '../api/client.ts'
import { jittered, sleep } from '../clock.ts'
import { agentFor, type DoorbellParts } from '../daemon/doorbell-loop.ts'
import type { Log } from '../log.ts'
import { bytesOf } from './agent-line.ts'

const HANDSHAKE_TIMEOUT_MS = 10_000
/** Viewers are told that the picture is gone and wait; it has to be back soon after the line is. */
const REDIAL_CAP_MS = 2_000
const PING_INTERVAL_MS = 5_000
const PONG_TIMEOUT_MS = 5_000

export interface RelayLineParts extends Pick<DoorbellParts, 'config' | 'membership'> {
  readonly sessionId: string
  readonly log: Log
  readonly onMessage: (message: ToPublisher) => void
  /** Whether the relay can be reached now. */
  readonly onOpen: (isOpen: boolean) => void
}

/** Why a line is not dialled again: the session is over, or somebody else has its place. */
type Outcome = { readonly over: boolean; readonly reason: string }

/** The runner's websocket to the session's relay: dialled out, and dialled again whenever it breaks. */
export class RelayLine {
  readonly #parts: RelayLineParts
  #socket: WebSocket | null = null

  constructor(parts: RelayLineParts) {
    this.#parts = parts
  }

  send(message: Uint8Array | string, done: () => void = () => undefined): void {
    const socket = this.#socket
    if (socket?.readyState !== WebSocket.OPEN) return done()
    socket.send(message, () => done())
  }

  async run(signal: AbortSignal): Promise<void> {
    let failures = 0
    while (!signal.aborted) {
      const began = performance.now()
      const { over, reason } = await this.#once(signal)
      this.#parts.onOpen(false)
      if (signal.aborted) return
      if (over) return this.#parts.log.info({ reason }, 'the relay has no more use for this line')
      failures = performance.now() - began > 10_000 ? 1 : failures + 1
      const pauseMs = backoffMs(failures, 100, Math.random, REDIAL_CAP_MS)
      const line = { reason, retry_in_ms: Math.round(pauseMs) }
      this.#parts.log.warn(line, 'relay connection lost: viewers see no picture until it is back')
      await sleep(pauseMs, signal)
    }
  }

  #once(signal: AbortSignal): Promise<Outcome> {
    const { config, membership, sessionId, log, onMessage, onOpen } = this.#parts
    const url = address(
      config.CONTROL_PLANE_URL,
      runnerPath(membership.identity, `sessions/${sessionId}/relay`),
    )
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    const socket = new WebSocket(url, {
      agent: agentFor(url, config),
      headers: { authorization: `Bearer ${membership.identity.credential}` },
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      followRedirects: false,
      maxPayload: STREAM_TEXT_LIMIT_BYTES,
      perMessageDeflate: false,
    })
    this.#socket = socket
    return new Promise(resolve => {
      let reason = ''
      let over = false
      let pulse: NodeJS.Timeout | undefined
      let alarm: NodeJS.Timeout | undefined
      const drop = (why: string) => {
        reason = why
        socket.terminate()
      }
      const beat = () => {
        socket.send('ping')
        alarm = setTimeout(() => drop('no pong in time'), PONG_TIMEOUT_MS)
        pulse = setTimeout(beat, jittered(PING_INTERVAL_MS))
      }
      const onAbort = () => (socket.readyState === WebSocket.OPEN ? socket.close(1000) : socket.terminate())
      signal.addEventListener('abort', onAbort)
      if (signal.aborted) socket.terminate()
      socket.on('open', () => {
        log.info('relay connected')
        beat()
        onOpen(true)
      })
      socket.on('message', (data, isBinary) => {
        const text = isBinary ? '' : new TextDecoder().decode(bytesOf(data))
        if (text === 'pong') return clearTimeout(alarm)
        const json = parseJson(text)
        const message = ToPublisher.safeParse(json.ok ? json.value : undefined)
        // A newer control plane may have more to say; what is not understood is not for this runner.
        if (message.success) onMessage(message.data)
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
        clearTimeout(pulse)
        clearTimeout(alarm)
        signal.removeEventListener('abort', onAbort)
        this.#socket = null
        over ||= code === STREAM_CLOSE.sessionEnded || code === STREAM_CLOSE.replaced
        resolve({ over, reason: reason === '' ? `closed with ${code}` : reason })
      })
    })
  }
}
