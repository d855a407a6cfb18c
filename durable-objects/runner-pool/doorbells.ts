import { DOORBELL } from '../../protocol/runner-api.ts'
import type { Doorbells as DoorbellView } from './core/context.ts'
import type { Bell } from './core/doorbell.ts'

const NOT_RUNG: Bell = { rungAt: null, unanswered: 0, promised: 0 }

/**
 * The runners' hibernating doorbell sockets. Pings are answered by the runtime without waking the object;
 * the time of the last answer is all that is ever asked of it. Which ring went unanswered is forgotten with
 * hibernation, which costs one more ring.
 */
export class Doorbells implements DoorbellView {
  readonly #ctx: DurableObjectState
  readonly #rung = new Map<string, Bell>()

  constructor(ctx: DurableObjectState) {
    this.#ctx = ctx
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair(DOORBELL.ping, DOORBELL.pong))
  }

  /** @returns the answer to the upgrade of a runner that is let in */
  upgrade(runnerId: string, now: number): Response {
    const { 0: client, 1: server } = new WebSocketPair()
    this.close(runnerId, DOORBELL.closeReplaced, 'replaced by a newer connection')
    this.#ctx.acceptWebSocket(server, [runnerId])
    server.serializeAttachment({ connectedAt: now })
    this.#rung.delete(runnerId)
    return new Response(null, { status: 101, webSocket: client })
  }

  /** @returns of a socket that is over, whose it was and when it last gave a sign of life */
  lost(socket: WebSocket): { runnerId: string; pongAt: number } | null {
    const [runnerId] = this.#ctx.getTags(socket)
    return runnerId === undefined ? null : { runnerId, pongAt: this.#signOfLife(socket) }
  }

  lastPongAt(runnerId: string): number | null {
    const times = this.#ctx
      .getWebSockets(runnerId)
      .filter(isOpen)
      .map(socket => this.#signOfLife(socket))
    return times.length === 0 ? null : Math.max(...times)
  }

  /** Every runner with an open socket. */
  bells(): Map<string, Bell> {
    const bells = new Map<string, Bell>()
    for (const socket of this.#ctx.getWebSockets()) {
      const [runnerId] = this.#ctx.getTags(socket)
      if (runnerId === undefined || !isOpen(socket)) continue
      bells.set(runnerId, this.#rung.get(runnerId) ?? NOT_RUNG)
    }
    return bells
  }

  ring(runnerId: string, now: number): void {
    const { unanswered, promised } = this.#rung.get(runnerId) ?? NOT_RUNG
    this.#rung.set(runnerId, { rungAt: now, unanswered: unanswered + 1, promised })
    for (const socket of this.#ctx.getWebSockets(runnerId)) if (isOpen(socket)) socket.send(DOORBELL.ring)
  }

  /** How many waiting runs the runner was rung for in all; its next sync settles that. */
  promise(runnerId: string, runs: number): void {
    this.#rung.set(runnerId, { ...(this.#rung.get(runnerId) ?? NOT_RUNG), promised: runs })
  }

  /** The runner has synced: whatever was rung for, it knows. */
  answered(runnerId: string): void {
    this.#rung.delete(runnerId)
  }

  close(runnerId: string, code: number, reason: string): void {
    for (const socket of this.#ctx.getWebSockets(runnerId)) if (isOpen(socket)) socket.close(code, reason)
    this.#rung.delete(runnerId)
  }

  /** For a runner whose credential has died. */
  hangUp(runnerId: string): void {
    this.close(runnerId, DOORBELL.closeUnauthenticated, 'the credential is no longer valid')
  }

  /** When the socket was opened or last answered a ping. */
  #signOfLife(socket: WebSocket): number {
    const attachment: unknown = socket.deserializeAttachment()
    const connectedAt =
      typeof attachment === 'object' && attachment !== null && 'connectedAt' in attachment
        ? Number(attachment.connectedAt)
        : 0
    return Math.max(connectedAt, this.#ctx.getWebSocketAutoResponseTimestamp(socket)?.getTime() ?? 0)
  }
}

function isOpen(socket: WebSocket): boolean {
  return socket.readyState === WebSocket.OPEN
}
