import { Problem } from '../../protocol/errors.ts'
import { parseJson } from '../../protocol/json.ts'
import { ViewerTicket } from '../../protocol/live.ts'
import { isTerminal } from '../../protocol/run.ts'
import {
  type FromViewer,
  PUBLISHER_PULSE,
  STREAM_CLOSE,
  STREAM_SUBPROTOCOL,
  TICKET_SUBPROTOCOL_PREFIX,
  ToViewer,
  type WatchMode,
} from '../../protocol/stream.ts'

/** What the page shows of the connection. */
export interface Phase {
  readonly phase: 'connecting' | 'waiting' | 'live' | 'ended' | 'refused'
  readonly reason: string
}

/** How this page may watch: by a link, or as whoever is signed in. */
export type Leave =
  | { readonly kind: 'link'; readonly link: string }
  | { readonly kind: 'session'; readonly mode: WatchMode }

export interface ConnectionParts {
  readonly runId: string
  readonly leave: Leave
  readonly onPhase: (phase: Phase) => void
  readonly onMessage: (message: ToViewer) => void
  readonly onFrame: (frame: ArrayBuffer) => void
}

/** The picture has to be back soon after whatever kept it away. */
const RETRY_CAP_MS = 2_000
const ANSWER_LIMIT_MS = 5_000
/** Whatever has nothing to say in between two of these is asked, and without an answer given up. */
const PULSE_MS = 4_000
/** Room is made only by somebody who leaves. */
const FULL_PAUSE_MS = 20_000
/** A run that waits is looked at this often at first, and less often when it waits for long. */
const NEXT_SESSION_MS = 3_000
const NEXT_SESSION_CAP_MS = 10_000
const NEXT_SESSION_GROWTH = 1.1

/** One websocket after the other, each with a ticket of its own, until there is nothing more to watch. */
export class Connection {
  readonly #parts: ConnectionParts
  #socket: WebSocket | null = null
  #failures = 0
  #looks = 0
  #isStopped = false
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(parts: ConnectionParts) {
    this.#parts = parts
  }

  start(): void {
    clearTimeout(this.#timer)
    this.#looks = 0
    this.#show('connecting', 'asking for leave to watch')
    void this.#connect()
  }

  /** Nothing is heard of it afterwards. */
  stop(): void {
    clearTimeout(this.#timer)
    const socket = this.#socket
    this.#socket = null
    this.#isStopped = true
    socket?.close(1000)
  }

  send(message: FromViewer): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message))
  }

  async #connect(): Promise<void> {
    const ticket = await this.#ticket()
    if (ticket === null || this.#isStopped) return
    const url = new URL(`/api/v1/runs/${this.#parts.runId}/stream`, location.href)
    url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:'
    const socket = new WebSocket(url, [STREAM_SUBPROTOCOL, `${TICKET_SUBPROTOCOL_PREFIX}${ticket.ticket}`])
    socket.binaryType = 'arraybuffer'
    this.#socket = socket
    this.#watchOver(socket)
    socket.addEventListener('message', ({ data }) => {
      if (socket !== this.#socket) return
      if (typeof data === 'string') this.#hear(data)
      else this.#parts.onFrame(data)
    })
    socket.addEventListener('close', ({ code, reason }) => {
      if (socket === this.#socket) this.#closed(code, reason)
    })
  }

  /** A line may die without either end being told. */
  #watchOver(socket: WebSocket): void {
    let heard = true
    const pulse = setInterval(() => {
      if (socket !== this.#socket) return clearInterval(pulse)
      if (!heard) {
        socket.close()
        return this.#closed(0, '')
      }
      heard = false
      if (socket.readyState === WebSocket.OPEN) socket.send(PUBLISHER_PULSE.ping)
    }, PULSE_MS)
    for (const sign of ['open', 'message'] as const) {
      socket.addEventListener(sign, () => {
        heard = true
      })
    }
  }

  async #ticket(): Promise<ViewerTicket | null> {
    const { runId, leave } = this.#parts
    const [path, body] =
      leave.kind === 'link'
        ? ['/api/v1/live-links/exchange', { run_id: runId, link: leave.link }]
        : [`/api/v1/runs/${runId}/viewer-tickets`, { mode: leave.mode }]
    let response: Response
    try {
      response = await fetch(path, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
      })
    } catch {
      this.#retry('the control plane cannot be reached')
      return null
    }
    const answer: unknown = await response.json().catch(() => null)
    if (response.ok) {
      const ticket = ViewerTicket.safeParse(answer)
      if (ticket.success) return ticket.data
    }
    const problem = Problem.safeParse(answer)
    this.#refused(problem.success ? problem.data : null)
    return null
  }

  #refused(problem: Problem | null): void {
    switch (problem?.code) {
      case 'not_running':
        return this.#notRunning(problem)
      case 'unauthenticated':
      case 'forbidden':
      case 'feature_disabled':
      case 'not_found':
      case 'invalid_request':
        return this.#show('refused', problem.detail)
      case 'conflict':
        return this.#retry(problem.detail, FULL_PAUSE_MS * (0.5 + Math.random()))
      default:
        return this.#retry(problem?.detail ?? 'the control plane answered with something else')
    }
  }

  /** There may be a session yet, or another one: a run that failed may be tried again. */
  #notRunning({ detail, run_status }: Problem): void {
    if (run_status === undefined) return this.#show('refused', detail)
    if (isTerminal(run_status)) return this.#show('ended', detail)
    this.#show('waiting', detail)
    this.#lookAgain()
  }

  #hear(text: string): void {
    if (text === PUBLISHER_PULSE.pong) return
    const json = parseJson(text)
    const message = ToViewer.safeParse(json.ok ? json.value : undefined)
    if (!message.success) return
    if (message.data.type === 'state') {
      const { stream, reason } = message.data
      this.#failures = 0
      this.#looks = 0
      if (stream !== 'ended') this.#show(stream, reason ?? '')
    }
    this.#parts.onMessage(message.data)
  }

  #closed(code: number, reason: string): void {
    this.#socket = null
    switch (code) {
      case STREAM_CLOSE.unauthenticated:
      case STREAM_CLOSE.forbidden:
      case STREAM_CLOSE.malformed:
        return this.#show('refused', reason)
      case STREAM_CLOSE.sessionEnded:
      case STREAM_CLOSE.notFound:
        this.#show('ended', 'the session has ended')
        return this.#lookAgain()
      case STREAM_CLOSE.publisherTimeout:
        return this.#retry(reason)
      default:
        return this.#retry('the connection was lost')
    }
  }

  #retry(reason: string, longPauseMs?: number): void {
    this.#failures += 1
    const pauseMs = Math.random() * Math.min(RETRY_CAP_MS, 500 * 2 ** Math.min(this.#failures, 10))
    this.#show('connecting', `${reason}; trying again`)
    this.#timer = setTimeout(() => void this.#connect(), longPauseMs ?? pauseMs)
  }

  #lookAgain(): void {
    const pauseMs = Math.min(NEXT_SESSION_CAP_MS, NEXT_SESSION_MS * NEXT_SESSION_GROWTH ** this.#looks)
    this.#looks += 1
    this.#timer = setTimeout(() => void this.#connect(), pauseMs)
  }

  #show(phase: Phase['phase'], reason: string): void {
    if (this.#isStopped) return
    this.#parts.onPhase({ phase, reason })
  }
}
