import { Problem } from '../../protocol/errors.ts'
import { parseJson } from '../../protocol/json.ts'
import { ViewerTicket } from '../../protocol/live.ts'
import { isTerminal } from '../../protocol/run.ts'
import {
  type FromViewer,
  PUBLISHER_PULSE,
  RUNNER_AWAITED,
  STREAM_CLOSE,
  STREAM_SUBPROTOCOL,
  TICKET_SUBPROTOCOL_PREFIX,
  ToViewer,
} from '../../protocol/stream.ts'
import { askForTicket } from './ask-for-ticket.ts'
import type { Permission } from './permission.ts'
import { type Phase, refusalOf } from './phase.ts'

export type { Phase } from './phase.ts'

export interface ConnectionParts {
  readonly runId: string
  readonly permission: Permission
  readonly onPhase: (phase: Phase) => void
  readonly onMessage: (message: ToViewer) => void
  readonly onFrame: (frame: ArrayBuffer) => void
}

/** The picture has to be back soon after whatever kept it away. */
const RETRY_CAP_MS = 2_000
/** A line that is not open by then is given up for another. */
const OPEN_LIMIT_MS = 2_000
/** How long the other end has to say goodbye: over a line that has died it never does. */
const GOODBYE_LIMIT_MS = 1_000
/** Whatever has nothing to say in between two of these is asked, and without an answer given up. */
const PULSE_MS = 4_000
/** Room is made only by somebody who leaves. */
const FULL_PAUSE_MS = 20_000
/** A run that waits is looked at this often at first, and less often when it waits for long. */
const NEXT_SESSION_MS = 3_000
const NEXT_SESSION_CAP_MS = 10_000
const NEXT_SESSION_GROWTH = 1.1
const TRYING_AGAIN = '; trying again'
const OUT_OF_REACH = 'the control plane cannot be reached'
const LOST = 'the connection was lost'

/** One websocket after the other, each with a ticket of its own, until there is nothing more to watch. */
export class Connection {
  readonly #parts: ConnectionParts
  #socket: WebSocket | null = null
  #failures = 0
  #looks = 0
  /** The one under way: what belongs to one before it is no longer heard. */
  #attempt = new AbortController()
  /** Until the socket before the next one is closed: where a link lets one watch, two would be one too many. */
  #goodbye: Promise<unknown> = Promise.resolve()
  /** Since when there is no picture, in epoch milliseconds. */
  #darkSince: number | null = null
  /** Whether it was waited for long enough. */
  #isRunnerMissing = false
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(parts: ConnectionParts) {
    this.#parts = parts
  }

  start(): void {
    this.stop()
    this.#looks = 0
    this.#show('connecting', 'asking for permission to watch')
    void this.#connect()
  }

  /** Nothing is heard of it afterwards, unless it is started again. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#attempt.abort()
    this.#hangUp()
  }

  #hangUp(): void {
    const socket = this.#socket
    this.#socket = null
    if (socket === null) return
    this.#goodbye = new Promise(resolve => {
      socket.addEventListener('close', resolve)
      setTimeout(resolve, GOODBYE_LIMIT_MS)
    })
    socket.close(1000)
  }

  send(message: FromViewer): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message))
  }

  async #connect(): Promise<void> {
    const attempt = new AbortController()
    this.#attempt = attempt
    await this.#goodbye
    if (attempt.signal.aborted) return
    const { runId, permission } = this.#parts
    const answered = await askForTicket(runId, permission, attempt.signal)
    if (attempt.signal.aborted) return
    // It was waited for long enough.
    if (answered === 'silent') return this.#retry(OUT_OF_REACH, 0)
    if (answered === 'unreachable') return this.#retry(OUT_OF_REACH)
    const ticket = ViewerTicket.safeParse(answered.answer)
    if (!ticket.success) return this.#refused(Problem.safeParse(answered.answer).data)
    this.#open(ticket.data)
  }

  #open({ ticket }: ViewerTicket): void {
    const url = new URL(`/api/v1/runs/${this.#parts.runId}/stream`, location.href)
    url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:'
    const socket = new WebSocket(url, [STREAM_SUBPROTOCOL, `${TICKET_SUBPROTOCOL_PREFIX}${ticket}`])
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

  /** A line may die without either end being told, before it is open or after. */
  #watchOver(socket: WebSocket): void {
    let heard = true
    const giveUp = (pauseMs?: number) => {
      this.#hangUp()
      this.#retry(LOST, pauseMs)
    }
    setTimeout(() => {
      if (socket === this.#socket && socket.readyState === WebSocket.CONNECTING) giveUp(0)
    }, OPEN_LIMIT_MS)
    const pulse = setInterval(() => {
      if (socket !== this.#socket) return clearInterval(pulse)
      if (!heard) return giveUp()
      heard = false
      if (socket.readyState === WebSocket.OPEN) socket.send(PUBLISHER_PULSE.ping)
    }, PULSE_MS)
    for (const sign of ['open', 'message'] as const) {
      socket.addEventListener(sign, () => {
        heard = true
      })
    }
  }

  #refused(problem: Problem | undefined): void {
    switch (problem?.code) {
      case 'not_running':
        return this.#notRunning(problem)
      case 'unauthenticated':
      case 'forbidden':
      case 'feature_disabled':
      case 'not_found':
      case 'invalid_request':
        return this.#refuse(problem.code, problem.detail)
      case 'conflict':
        return this.#retry(problem.detail, FULL_PAUSE_MS * (0.5 + Math.random()))
      default:
        return this.#retry(problem?.detail ?? 'the control plane answered with something else')
    }
  }

  /** There may be a session yet, or another one: a run that failed may be tried again. */
  #notRunning({ detail, run_status }: Problem): void {
    if (run_status === undefined) return this.#refuse('not_running', detail)
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
      if (stream !== 'ended') this.#told(stream, reason ?? '')
    }
    this.#parts.onMessage(message.data)
  }

  #told(stream: 'connecting' | 'live', reason: string): void {
    const isAwaited = reason === RUNNER_AWAITED.first || reason === RUNNER_AWAITED.again
    this.#isRunnerMissing &&= isAwaited
    this.#show(stream, this.#isRunnerMissing ? `${this.#missing()}${TRYING_AGAIN}` : reason)
  }

  #closed(code: number, reason: string): void {
    this.#socket = null
    switch (code) {
      case STREAM_CLOSE.unauthenticated:
      case STREAM_CLOSE.forbidden:
      case STREAM_CLOSE.malformed:
        return this.#refuse(code, reason)
      case STREAM_CLOSE.sessionEnded:
      case STREAM_CLOSE.notFound:
        this.#show('ended', 'the session has ended')
        return this.#lookAgain()
      case STREAM_CLOSE.publisherTimeout:
        this.#isRunnerMissing = true
        return this.#retry(this.#missing())
      default:
        return this.#retry(LOST)
    }
  }

  #retry(reason: string, pauseMs?: number): void {
    this.#failures += 1
    const jitteredMs = Math.random() * Math.min(RETRY_CAP_MS, 500 * 2 ** Math.min(this.#failures, 10))
    this.#show('connecting', `${reason}${TRYING_AGAIN}`)
    this.#timer = setTimeout(() => void this.#connect(), pauseMs ?? jitteredMs)
  }

  #lookAgain(): void {
    const pauseMs = Math.min(NEXT_SESSION_CAP_MS, NEXT_SESSION_MS * NEXT_SESSION_GROWTH ** this.#looks)
    this.#looks += 1
    this.#timer = setTimeout(() => void this.#connect(), pauseMs)
  }

  /** One sentence, however often the relay is asked: nothing is new before the runner is back. */
  #missing(): string {
    const since = new Date(this.#darkSince ?? Date.now())
    const time = since.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })
    return `the runner has not answered since ${time}`
  }

  #refuse(code: string | number, detail: string): void {
    this.#parts.onPhase(refusalOf(this.#parts.permission, code, detail))
  }

  #show(phase: Phase['phase'], reason: string): void {
    this.#darkSince = phase === 'live' ? null : (this.#darkSince ?? Date.now())
    this.#parts.onPhase({ phase, reason })
  }
}
