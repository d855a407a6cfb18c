import { WebSocket } from 'ws'
import { FRAME_LIMIT_BYTES } from '../../protocol/limits.ts'
import { decodeFrame, FromPublisher, readMessage, type ToPublisher } from '../../protocol/stream.ts'
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

export interface AgentLineParts {
  readonly folder: string
  readonly log: Log
  readonly onFrame: (frame: Uint8Array) => void
  readonly onMessage: (message: FromPublisher) => void
  /** The agent listens (again): it has to be told what is wanted. */
  readonly onOpen: () => void
  /** Nobody listens; said again at every look. */
  readonly onGone: () => void
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
    while (!signal.aborted) {
      const trouble = await this.#once(signal).catch(reasonOf)
      if (!said.has(trouble)) this.#parts.log.warn({ reason: trouble }, 'the agent gives no live picture')
      said.add(trouble)
      this.#parts.onGone()
      await sleep(LOOK_AGAIN_MS, signal)
    }
  }

  /** @returns what is wrong with the line, empty for nothing */
  async #once(signal: AbortSignal): Promise<string> {
    const line = await connectStreamSocket(this.#parts.folder)
    // Whoever has ended it already does not listen.
    if (line === null || line.destroyed) return ''
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
      const refuse = (why: string) => {
        reason = why
        socket.terminate()
      }
      const onAbort = () => socket.terminate()
      signal.addEventListener('abort', onAbort)
      if (signal.aborted) socket.terminate()
      socket.on('open', () => this.#parts.onOpen())
      socket.on('ping', data => pace.count(data.byteLength))
      socket.on('pong', data => pace.count(data.byteLength))
      socket.on('message', (data, isBinary) => {
        const bytes = bytesOf(data)
        pace.count(bytes.byteLength)
        const wrong = isBinary ? this.#frame(bytes) : this.#message(bytes)
        if (wrong !== null) refuse(wrong)
      })
      socket.on('error', error => {
        reason = reason === '' ? error.message : reason
      })
      socket.on('close', () => {
        signal.removeEventListener('abort', onAbort)
        pace.stop()
        line.destroy()
        this.#socket = null
        resolve(signal.aborted ? '' : reason)
      })
    })
  }

  #frame(bytes: Uint8Array): string | null {
    if (decodeFrame(bytes) === null) return 'it sent what is not a frame of this protocol'
    this.#parts.onFrame(bytes)
    return null
  }

  #message(bytes: Uint8Array): string | null {
    const message = readMessage(FromPublisher, new TextDecoder().decode(bytes))
    if (message === null) return 'it sent a message that is not of this protocol'
    if (message !== 'of_a_later_release') this.#parts.onMessage(message)
    return null
  }
}
