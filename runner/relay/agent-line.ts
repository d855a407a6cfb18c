import { WebSocket } from 'ws'
import { parseJson } from '../../protocol/json.ts'
import { FRAME_LIMIT_BYTES } from '../../protocol/limits.ts'
import { decodeFrame, FromPublisher, type ToPublisher } from '../../protocol/stream.ts'
import { sleep } from '../clock.ts'
import { type Log, reasonOf } from '../log.ts'
import { connectStreamSocket } from './stream-socket.ts'

const HANDSHAKE_TIMEOUT_MS = 5_000
/** A local look at one file; an agent takes about a second to begin listening. */
const LOOK_AGAIN_MS = 250

export interface AgentLineParts {
  readonly folder: string
  readonly log: Log
  readonly onFrame: (frame: Uint8Array) => void
  readonly onHello: (hello: FromPublisher) => void
  /** The agent listens (again): it has to be told what is wanted. */
  readonly onOpen: () => void
}

/** The runner's end of `stream.sock`. What the agent says is untrusted: only frames and messages of the protocol pass. */
export class AgentLine {
  readonly #parts: AgentLineParts
  #socket: WebSocket | null = null

  constructor(parts: AgentLineParts) {
    this.#parts = parts
  }

  send(message: ToPublisher): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message))
  }

  /** Connects, and connects again whenever the line is gone, until aborted. */
  async run(signal: AbortSignal): Promise<void> {
    let said = ''
    while (!signal.aborted) {
      const trouble = await this.#once(signal).catch(reasonOf)
      if (trouble !== '' && trouble !== said)
        this.#parts.log.warn({ reason: trouble }, 'the agent gives no live picture')
      said = trouble
      await sleep(LOOK_AGAIN_MS, signal)
    }
  }

  /** @returns what is wrong with the line, empty for nothing */
  async #once(signal: AbortSignal): Promise<string> {
    const line = await connectStreamSocket(this.#parts.folder)
    if (line === null) return ''
    const socket = new WebSocket('ws://agent/', {
      createConnection: () => line,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      maxPayload: FRAME_LIMIT_BYTES,
      perMessageDeflate: false,
      followRedirects: false,
    })
    this.#socket = socket
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
      socket.on('message', (data, isBinary) => {
        const wrong = isBinary ? this.#frame(bytesOf(data)) : this.#message(bytesOf(data))
        if (wrong !== null) refuse(wrong)
      })
      socket.on('error', error => {
        reason = reason === '' ? error.message : reason
      })
      socket.on('close', () => {
        signal.removeEventListener('abort', onAbort)
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
    const json = parseJson(new TextDecoder().decode(bytes))
    const parsed = FromPublisher.safeParse(json.ok ? json.value : undefined)
    if (!parsed.success) return 'it sent a message that is not of this protocol'
    this.#parts.onHello(parsed.data)
    return null
  }
}

export function bytesOf(data: WebSocket.RawData): Uint8Array {
  if (Array.isArray(data)) return Buffer.concat(data)
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data
}
