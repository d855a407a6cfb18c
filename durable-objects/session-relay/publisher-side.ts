import {
  decodeFrame,
  type FromViewer,
  PUBLISHER_PULSE,
  STREAM_CLOSE,
  type ToPublisher,
} from '../../protocol/stream.ts'
import { isNobodyTaking, silentAt } from './core/staying.ts'
import type { LastFrame } from './frame-fan.ts'
import type { Log } from './log.ts'
import { fromPublisher } from './messages.ts'
import { type RelaySockets, sendTo } from './sockets.ts'

const MAX_FPS = 30

/** What the relay hears from its publisher and tells it. There is one at a time: a newer one replaces it. */
export class PublisherSide {
  readonly #sockets: RelaySockets
  readonly #log: Log
  #isPaused = false

  constructor(sockets: RelaySockets, log: Log) {
    this.#sockets = sockets
    this.#log = log
  }

  /** @returns the client's end */
  join(now: number): WebSocket {
    const before = this.#sockets.publisher
    const { width = null, height = null, connected_at = 0 } = before?.state ?? {}
    const { 0: client, 1: server } = new WebSocketPair()
    this.#sockets.addPublisher(server, {
      role: 'publisher',
      connected_at: Math.max(now, connected_at + 1),
      framed: false,
      blank: null,
      width,
      height,
    })
    if (before !== null) {
      this.#sockets.close(before.socket, STREAM_CLOSE.replaced, 'replaced by a newer connection')
    }
    this.#isPaused = false
    this.#log('info', 'relay_publisher_connected', { replaced: before !== null })
    return client
  }

  /** @returns a frame to give to the viewers; whatever is not of the protocol closes the publisher */
  hear(message: string | ArrayBuffer): LastFrame | null {
    if (typeof message === 'string') {
      const heard = fromPublisher(message)
      if (heard === 'of_a_later_release') return null
      if (heard === null) this.#refuse('the runner sent a message that is not of this protocol')
      else if (heard.type === 'blank') this.#sockets.updatePublisher({ framed: false, blank: heard.cause })
      else this.#sockets.updatePublisher({ width: heard.width, height: heard.height, blank: null })
      return null
    }
    const bytes = new Uint8Array(message)
    const frame = decodeFrame(bytes)
    if (frame === null) this.#refuse('the runner sent what is not a frame of this protocol')
    return frame === null ? null : { seq: frame.seq, bytes }
  }

  demand(refresh: boolean): void {
    const { publisher, viewerCount: viewers } = this.#sockets
    if (publisher === null) return
    this.#ask(viewers, viewers > 0 && (refresh || this.#isPaused))
    this.#isPaused = false
  }

  /**
   * Whether it was told to stop although viewers are there. An object that forgot this has forgotten the last frame as
   * well, and asks for another whenever somebody can take one.
   */
  get isPaused(): boolean {
    return this.#isPaused
  }

  /** Viewers are there and none takes anything, so none watches; perhaps their leaving got lost. */
  pauseIfUntaken(now: number): void {
    if (this.#isPaused || !isNobodyTaking(this.#sockets.viewers(), now)) return
    const viewers = this.#sockets.viewerCount
    // Frames that were on their way when the last viewer left are no news.
    if (viewers > 0) this.#log('info', 'relay_nobody_takes', { viewers })
    this.#isPaused = true
    this.#ask(0, false)
  }

  input(message: Extract<FromViewer, { type: 'input' }>): void {
    if (this.#sockets.publisher !== null) sendTo(this.#sockets.publisher.socket, message)
  }

  /** See `silentAt`; null without a publisher. */
  get silentAt(): number | null {
    const { publisher } = this.#sockets
    return publisher === null ? null : silentAt(publisher.state, this.#sockets.pingedAt(publisher.socket))
  }

  dropIfSilent(now: number): void {
    const { publisher } = this.#sockets
    const at = this.silentAt
    if (publisher === null || at === null || now < at) return
    this.#log('warn', 'relay_publisher_silent', { silent_ms: PUBLISHER_PULSE.silenceMs })
    this.#sockets.close(publisher.socket, 1001, 'no ping came for some seconds')
  }

  #refuse(reason: string): void {
    this.#log('warn', 'relay_publisher_refused', { reason })
    const socket = this.#sockets.publisher?.socket
    if (socket !== undefined) this.#sockets.close(socket, STREAM_CLOSE.malformed, reason)
  }

  #ask(viewers: number, refresh: boolean): void {
    const demand: ToPublisher = { type: 'demand', viewers, max_fps: MAX_FPS, refresh }
    if (this.#sockets.publisher !== null) sendTo(this.#sockets.publisher.socket, demand)
  }
}
