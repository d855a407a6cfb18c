import type { ToPublisher, ToViewer } from '../../protocol/stream.ts'
import {
  type Attachment,
  attach,
  attachmentOf,
  type PublisherAttachment,
  type ViewerAttachment,
} from './core/attachments.ts'

const VIEWER = 'viewer'
const PUBLISHER = 'publisher'

/** `state` is what is known; the attachment is as much of it as an object that forgot has to find again. */
export interface Viewer {
  readonly socket: WebSocket
  state: ViewerAttachment
  stored: ViewerAttachment
}
export interface Publisher {
  readonly socket: WebSocket
  readonly state: PublisherAttachment
}

type Runtime = Pick<
  DurableObjectState,
  'acceptWebSocket' | 'getWebSockets' | 'getWebSocketAutoResponseTimestamp'
>

/**
 * The session's hibernating sockets that are in use: what is closing is not among them, and is not heard any more.
 * Between any two messages the object may forget all of this and find it again in the sockets' attachments.
 */
export class RelaySockets {
  readonly #ctx: Runtime
  readonly #viewers = new Map<WebSocket, Viewer>()
  #publisher: Publisher | null = null

  constructor(ctx: Runtime) {
    this.#ctx = ctx
    for (const socket of ctx.getWebSockets()) {
      const state = isOpen(socket) ? attachmentOf(socket) : null
      if (state?.role === VIEWER) this.#viewers.set(socket, { socket, state, stored: state })
      // Of two, the one whose close is still on its way is the older.
      else if (state?.role === PUBLISHER && state.connected_at >= (this.#publisher?.state.connected_at ?? 0))
        this.#publisher = { socket, state }
    }
  }

  get publisher(): Publisher | null {
    return this.#publisher
  }

  get viewerCount(): number {
    return this.#viewers.size
  }

  get isEmpty(): boolean {
    return this.#viewers.size === 0 && this.#publisher === null
  }

  viewers(): Iterable<Viewer> {
    return this.#viewers.values()
  }

  viewer(socket: WebSocket): Viewer | null {
    return this.#viewers.get(socket) ?? null
  }

  viewersFrom(source: string): number {
    return [...this.viewers()].filter(({ state }) => state.source === source).length
  }

  addViewer(socket: WebSocket, state: ViewerAttachment): Viewer {
    this.#ctx.acceptWebSocket(socket, [VIEWER])
    const viewer = { socket, state, stored: state }
    this.#viewers.set(socket, viewer)
    attach(socket, state)
    return viewer
  }

  /** Takes the place of the one before, which is the caller's to send off. */
  addPublisher(socket: WebSocket, state: PublisherAttachment): void {
    this.#ctx.acceptWebSocket(socket, [PUBLISHER])
    this.#publisher = { socket, state }
    attach(socket, state)
  }

  store(viewer: Viewer): void {
    viewer.stored = viewer.state
    attach(viewer.socket, viewer.state)
  }

  updatePublisher(change: Partial<PublisherAttachment>): void {
    if (this.#publisher === null) return
    const { socket, state } = this.#publisher
    this.#publisher = { socket, state: { ...state, ...change } }
    attach(socket, this.#publisher.state)
  }

  /** Epoch milliseconds, null before the first. Pings are answered without waking the object. */
  pingedAt(socket: WebSocket): number | null {
    return this.#ctx.getWebSocketAutoResponseTimestamp(socket)?.getTime() ?? null
  }

  close(socket: WebSocket, code: number, reason: string): void {
    this.forget(socket)
    if (isOpen(socket)) socket.close(code, reason)
  }

  closeAll(code: number, reason: string): void {
    for (const socket of this.#ctx.getWebSockets()) this.close(socket, code, reason)
  }

  forget(socket: WebSocket): void {
    this.#viewers.delete(socket)
    if (this.#publisher?.socket === socket) this.#publisher = null
  }

  /** What the socket was, also after it is out of use. */
  roleOf(socket: WebSocket): Attachment['role'] | null {
    return attachmentOf(socket)?.role ?? null
  }
}

/** A socket that is closing takes nothing more, and that is no error. */
export function sendTo(
  socket: WebSocket,
  message: ToViewer | ToPublisher | Uint8Array<ArrayBuffer> | string,
): void {
  if (!isOpen(socket)) return
  const isEncoded = typeof message === 'string' || message instanceof Uint8Array
  socket.send(isEncoded ? message : JSON.stringify(message))
}

function isOpen(socket: WebSocket): boolean {
  return socket.readyState === WebSocket.OPEN
}
