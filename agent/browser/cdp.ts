import { WebSocket } from 'ws'
import { z } from 'zod'

/**
 * The DevTools protocol over one websocket that carries every session ("flat" sessions): a command names its session,
 * an event says which one it comes from.
 */

export interface CdpEvent {
  readonly method: string
  readonly params: unknown
  /** Null for the browser's own. */
  readonly sessionId: string | null
}

/** The part of a connection that most of its users need. */
export interface CdpSender {
  /** @throws CdpError when Chromium refuses, or when the connection or the session is or gets lost */
  send(method: string, params?: object, sessionId?: string): Promise<unknown>
}

export class CdpError extends Error {
  override readonly name = 'CdpError'
}

const Message = z.object({
  id: z.number().optional(),
  result: z.unknown().optional(),
  error: z.object({ message: z.string() }).optional(),
  method: z.string().optional(),
  params: z.unknown().optional(),
  sessionId: z.string().optional(),
})

/** The largest message is a screenshot of a long page, in base64. */
const MESSAGE_LIMIT_BYTES = 256 * 1024 * 1024
/** On the same machine; a browser that is busy with its start takes a part of it. */
const OPEN_LIMIT_MS = 20_000

const NO_CONNECTION = 'the connection to Chromium is gone'

const Detached = z.object({ sessionId: z.string() })

interface Pending {
  readonly method: string
  readonly sessionId: string | undefined
  readonly resolve: (result: unknown) => void
  readonly reject: (error: CdpError) => void
}

export class CdpConnection implements CdpSender {
  readonly #socket: WebSocket
  readonly #pending = new Map<number, Pending>()
  readonly #listeners = new Set<(event: CdpEvent) => void>()
  readonly closed: Promise<void>
  #lastId = 0

  /** @param url as DevTools gives it: `ws://127.0.0.1:<port>/devtools/browser/<id>` */
  static async open(url: string): Promise<CdpConnection> {
    const socket = new WebSocket(url, {
      perMessageDeflate: false,
      maxPayload: MESSAGE_LIMIT_BYTES,
      handshakeTimeout: OPEN_LIMIT_MS,
    })
    const connection = new CdpConnection(socket)
    await new Promise<void>((resolve, reject) => {
      socket.once('open', () => resolve())
      socket.once('error', reject)
    })
    return connection
  }

  private constructor(socket: WebSocket) {
    this.#socket = socket
    socket.on('message', data => this.#receive(String(data)))
    // What went wrong is followed by the end of the connection, which is what counts.
    socket.on('error', () => undefined)
    this.closed = new Promise(resolve => {
      socket.on('close', () => {
        this.#giveUp(() => true, NO_CONNECTION)
        resolve()
      })
    })
  }

  send(method: string, params: object = {}, sessionId?: string): Promise<unknown> {
    if (this.#socket.readyState !== WebSocket.OPEN) return Promise.reject(lost(method, NO_CONNECTION))
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { method, sessionId, resolve, reject })
      this.#socket.send(JSON.stringify({ id, method, params, sessionId }))
    })
  }

  /** @returns how to stop listening */
  listen(listener: (event: CdpEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  close(): void {
    this.#socket.close()
  }

  #receive(text: string): void {
    const { id, result, error, method, params, sessionId } = Message.parse(JSON.parse(text))
    if (id === undefined) {
      if (method === undefined) return
      if (method === 'Target.detachedFromTarget') this.#sessionEnded(Detached.parse(params).sessionId)
      for (const listener of this.#listeners) listener({ method, params, sessionId: sessionId ?? null })
      return
    }
    const pending = this.#pending.get(id)
    this.#pending.delete(id)
    if (error === undefined) pending?.resolve(result)
    else pending?.reject(new CdpError(`${pending.method}: ${error.message}`))
  }

  /** A page that is closed while it is busy answers nothing of what it was asked. */
  #sessionEnded(sessionId: string): void {
    this.#giveUp(pending => pending.sessionId === sessionId, 'its page was closed')
  }

  #giveUp(isMeant: (pending: Pending) => boolean, why: string): void {
    for (const [id, pending] of this.#pending) {
      if (!isMeant(pending)) continue
      this.#pending.delete(id)
      pending.reject(lost(pending.method, why))
    }
  }
}

function lost(method: string, why: string): CdpError {
  return new CdpError(`${method}: ${why}`)
}
