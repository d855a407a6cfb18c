import { WebSocket } from 'ws'
import { FRAME_LIMIT_BYTES } from '../../protocol/limits.ts'
import {
  type BlankCause,
  decodeFrame,
  FromPublisher,
  readMessage,
  type ToPublisher,
} from '../../protocol/stream.ts'
import { sleep } from '../clock.ts'
import { type Log, reasonOf } from '../log.ts'
import { ReadPace } from './read-pace.ts'
import { bytesOf } from './received.ts'
import { connectStreamSocket } from './stream-socket.ts'

/** With the pause before the next attempt no more than the three seconds within which a picture has to be back. */
export const HANDSHAKE_TIMEOUT_MS = 2_000
/** What the agent has not read yet; more input than this it is not going to act on in time anyway. */
const INPUT_BACKLOG_LIMIT_BYTES = 256 * 1024
/** A local look at one file; an agent takes about a second to begin listening. */
export const LOOK_AGAIN_MS = 250
/** A program that breaks the protocol will most likely break it again. */
const BREACH_PAUSE_CAP_MS = 10_000
/** After this long without a breach the next one counts as the first. */
const GOOD_LINE_MS = 10_000
/** An agent that does not answer its being closed is left. */
const CLOSE_TIMEOUT_MS = 1_000
const HINT =
  'the program in the image that listens on /certyn/stream.sock has to be corrected; docs/agent-images.md says what it may send'

/** What was wrong, in at most the 123 bytes that a close frame has room for, and the close code that says so. */
interface Breach {
  readonly code: 1002 | 1003
  readonly reason: string
}
const NOT_A_MESSAGE: Breach = {
  code: 1002,
  reason: 'it sent a text that is not a message of the stream protocol',
}
const NOT_A_FRAME: Breach = {
  code: 1003,
  reason: 'it sent binary data that is not a frame of the stream protocol',
}

interface LineEnd {
  /** What was wrong with the line, empty for nothing. */
  readonly reason: string
  readonly isBreach: boolean
}

/** @param breaches how many in a row, 0 for none */
export function lookAgainMs(breaches: number): number {
  return Math.min(BREACH_PAUSE_CAP_MS, LOOK_AGAIN_MS * 2 ** Math.max(0, breaches - 1))
}

export interface AgentLineParts {
  readonly folder: string
  readonly log: Log
  readonly onFrame: (frame: Uint8Array) => void
  readonly onMessage: (message: FromPublisher) => void
  /** The agent listens (again): it has to be told what is wanted. */
  readonly onOpen: () => void
  /** There is no line to it, for which the cause is given; said again at every look. */
  readonly onGone: (cause: BlankCause) => void
}

/** The runner's end of `stream.sock`. What the agent says is untrusted: only frames and messages of the protocol pass. */
export class AgentLine {
  readonly #parts: AgentLineParts
  #socket: WebSocket | null = null

  constructor(parts: AgentLineParts) {
    this.#parts = parts
  }

  send(message: ToPublisher): void {
    if (this.#socket?.readyState !== WebSocket.OPEN) return
    if (message.type === 'input' && this.#socket.bufferedAmount > INPUT_BACKLOG_LIMIT_BYTES) return
    this.#socket.send(JSON.stringify(message))
  }

  /** Connects, and connects again whenever the line is gone, until aborted. */
  async run(signal: AbortSignal): Promise<void> {
    // The job may make the same trouble again and again.
    const said = new Set([''])
    let breaches = 0
    while (!signal.aborted) {
      const began = performance.now()
      const end = await this.#once(signal).catch(error => ({ reason: reasonOf(error), isBreach: false }))
      if (signal.aborted) return
      // Whoever has left after a breach is still what the picture waits for.
      if (end?.isBreach) breaches = performance.now() - began > GOOD_LINE_MS ? 1 : breaches + 1
      else if (end !== null) breaches = 0
      if (end !== null && !said.has(end.reason)) this.#complain(end)
      said.add(end?.reason ?? '')
      this.#parts.onGone(breaches > 0 ? 'agent_broken' : 'no_agent')
      await sleep(lookAgainMs(breaches), signal)
    }
  }

  #complain({ reason, isBreach }: LineEnd): void {
    this.#parts.log.warn({ reason, ...(isBreach && { hint: HINT }) }, 'the agent gives no live picture')
  }

  /** @returns null where nobody listens */
  async #once(signal: AbortSignal): Promise<LineEnd | null> {
    const line = await connectStreamSocket(this.#parts.folder)
    // Whoever has ended it already does not listen.
    if (line === null || line.destroyed) return null
    const socket = new WebSocket('ws://agent/', {
      createConnection: () => line,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      maxPayload: FRAME_LIMIT_BYTES,
      perMessageDeflate: false,
      followRedirects: false,
      // Answers that the agent does not read would pile up here.
      autoPong: false,
    })
    this.#socket = socket
    const pace = new ReadPace(socket)
    return await new Promise(resolve => {
      let reason = ''
      let isBreach = false
      let leave: NodeJS.Timeout | undefined
      const refuse = (breach: Breach) => {
        reason = breach.reason
        isBreach = true
        socket.close(breach.code, breach.reason)
        // Nothing more of it is read, its answer to this excepted.
        leave = setTimeout(() => socket.terminate(), CLOSE_TIMEOUT_MS)
      }
      const onAbort = () => socket.terminate()
      signal.addEventListener('abort', onAbort)
      if (signal.aborted) socket.terminate()
      socket.on('open', () => this.#parts.onOpen())
      socket.on('ping', data => pace.count(data.byteLength))
      socket.on('pong', data => pace.count(data.byteLength))
      socket.on('message', (data, isBinary) => {
        if (isBreach) return
        const bytes = bytesOf(data)
        pace.count(bytes.byteLength)
        const wrong = isBinary ? this.#frame(bytes) : this.#message(bytes)
        if (wrong !== null) refuse(wrong)
      })
      socket.on('error', error => {
        if (reason !== '') return
        reason = error.message
        isBreach = isOfTheProtocol(error)
      })
      socket.on('close', () => {
        clearTimeout(leave)
        signal.removeEventListener('abort', onAbort)
        pace.stop()
        line.destroy()
        this.#socket = null
        resolve({ reason, isBreach })
      })
    })
  }

  #frame(bytes: Uint8Array): Breach | null {
    if (decodeFrame(bytes) === null) return NOT_A_FRAME
    this.#parts.onFrame(bytes)
    return null
  }

  #message(bytes: Uint8Array): Breach | null {
    const message = readMessage(FromPublisher, new TextDecoder().decode(bytes))
    if (message === null) return NOT_A_MESSAGE
    if (message !== 'of_a_later_release') this.#parts.onMessage(message)
    return null
  }
}

/** Rather than of the system, which breaks lines to those who speak well too, or of one that is only slow. */
function isOfTheProtocol(error: NodeJS.ErrnoException): boolean {
  const isOfTheSystem = error.code?.startsWith('E') ?? false
  return !isOfTheSystem && error.message !== 'Opening handshake has timed out'
}
