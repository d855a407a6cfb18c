import type { ToPublisher, ToViewer } from '../../protocol/stream.ts'
import {
  type Attachment,
  attachmentOf,
  type PublisherAttachment,
  type ViewerAttachment,
} from './core/attachments.ts'

const VIEWER = 'viewer'
const PUBLISHER = 'publisher'

export interface Viewer {
  readonly socket: WebSocket
  readonly state: ViewerAttachment
}
export interface Publisher {
  readonly socket: WebSocket
  readonly state: PublisherAttachment
}

/**
 * The session's hibernating sockets. What is known of each is its attachment, written at every change, because
 * between any two messages the object may forget everything else.
 */
export class RelaySockets {
  readonly #ctx: Pick<DurableObjectState, 'acceptWebSocket' | 'getWebSockets'>
  readonly #viewers = new Map<WebSocket, ViewerAttachment>()

  constructor(ctx: Pick<DurableObjectState, 'acceptWebSocket' | 'getWebSockets'>) {
    this.#ctx = ctx
    for (const socket of ctx.getWebSockets(VIEWER)) {
      const state = attachmentOf(socket)
      if (isOpen(socket) && state?.role === VIEWER) this.#viewers.set(socket, state)
    }
  }

  get viewerCount(): number {
    return this.#viewers.size
  }

  viewers(): Viewer[] {
    return [...this.#viewers].map(([socket, state]) => ({ socket, state }))
  }

  viewersFrom(source: string): number {
    return this.viewers().filter(({ state }) => state.source === source).length
  }

  addViewer(socket: WebSocket, state: ViewerAttachment): void {
    this.#ctx.acceptWebSocket(socket, [VIEWER])
    this.update(socket, state)
  }

  addPublisher(socket: WebSocket, state: PublisherAttachment): void {
    this.#ctx.acceptWebSocket(socket, [PUBLISHER])
    this.update(socket, state)
  }

  /** The newest, should an older one's close still be on its way. */
  publisher(): Publisher | null {
    let newest: Publisher | null = null
    for (const socket of this.#ctx.getWebSockets(PUBLISHER)) {
      const state = attachmentOf(socket)
      if (!isOpen(socket) || state?.role !== PUBLISHER) continue
      if (newest === null || state.connected_at >= newest.state.connected_at) newest = { socket, state }
    }
    return newest
  }

  of(socket: WebSocket): Attachment | null {
    return this.#viewers.get(socket) ?? attachmentOf(socket)
  }

  update(socket: WebSocket, state: Attachment): void {
    if (state.role === VIEWER) this.#viewers.set(socket, state)
    socket.serializeAttachment(state)
  }

  close(socket: WebSocket, code: number, reason: string): void {
    this.#viewers.delete(socket)
    if (isOpen(socket)) socket.close(code, reason)
  }

  /** The other end has closed it, or it broke. */
  forget(socket: WebSocket): void {
    this.#viewers.delete(socket)
  }

  all(): WebSocket[] {
    return this.#ctx.getWebSockets().filter(isOpen)
  }
}

/** A socket that is closing takes nothing more, and that is no error. */
export function sendTo(socket: WebSocket, message: ToViewer | ToPublisher | Uint8Array<ArrayBuffer>): void {
  if (!isOpen(socket)) return
  socket.send(message instanceof Uint8Array ? message : JSON.stringify(message))
}

function isOpen(socket: WebSocket): boolean {
  return socket.readyState === WebSocket.OPEN
}
