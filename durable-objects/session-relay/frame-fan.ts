import type { ToViewer } from '../../protocol/stream.ts'
import type { PageSize, ViewerAttachment } from './core/attachments.ts'
import { acknowledge, type Flow, give, mayStay } from './core/flow.ts'
import { type RelaySockets, sendTo, type Viewer } from './sockets.ts'

export interface LastFrame {
  readonly seq: number
  readonly bytes: Uint8Array<ArrayBuffer>
}

/** `short`: the viewer is to have a newer frame, which is not at hand any more. */
export type Acknowledged = 'ignored' | 'served' | 'short'

/**
 * Gives frames to viewers as far as their credit goes. Everything here runs for every frame and every viewer, so it
 * parses nothing, and writes an attachment only where an object that forgot would otherwise send too much or too
 * little.
 */
export class FrameFan {
  readonly #sockets: RelaySockets
  readonly #hello: (viewer: ViewerAttachment) => ToViewer
  /** Memory only: whoever wants it after it was forgotten has the publisher asked for another. */
  #last: LastFrame | null = null
  #dropped = 0

  constructor(sockets: RelaySockets, hello: (viewer: ViewerAttachment) => ToViewer) {
    this.#sockets = sockets
    this.#hello = hello
  }

  /** Frames that viewers were not given, since the object woke. */
  get dropped(): number {
    return this.#dropped
  }

  get hasFrame(): boolean {
    return this.#last !== null
  }

  forget(): void {
    this.#last = null
  }

  pass(frame: LastFrame, now: number): void {
    this.#last = frame
    for (const viewer of this.#sockets.viewers()) this.#give(viewer, viewer.state.flow, frame, now)
  }

  /** The last frame for whoever has just come. */
  greet(viewer: Viewer, now: number): void {
    if (this.#last !== null) this.#give(viewer, viewer.state.flow, this.#last, now)
  }

  acknowledged(viewer: Viewer, seq: number, now: number): Acknowledged {
    const before = viewer.state.flow
    const flow = acknowledge(before, seq)
    if (flow === before) return 'ignored'
    if (flow.behindSince !== null && this.#last !== null) {
      this.#give(viewer, flow, this.#last, now)
      return 'served'
    }
    viewer.state = { ...viewer.state, flow: { ...flow, behindSince: null } }
    if (!mayStay(viewer.stored.flow)) this.#sockets.store(viewer)
    return flow.behindSince === null ? 'served' : 'short'
  }

  #give(viewer: Viewer, flow: Flow, frame: LastFrame, now: number): void {
    const given = give(flow, frame.seq, now)
    if (given.flow === viewer.state.flow) return
    const size = this.#newSizeFor(viewer)
    // Before sending: an object that forgets in between must not believe that there is credit left.
    viewer.state = { ...viewer.state, ...size, flow: given.flow }
    this.#sockets.store(viewer)
    if (!given.sent) return
    this.#dropped += given.skipped
    if (size !== null) sendTo(viewer.socket, this.#hello(viewer.state))
    if (given.skipped > 0) sendTo(viewer.socket, { type: 'gap', skipped: given.skipped })
    sendTo(viewer.socket, frame.bytes)
  }

  /** Told with a frame that is taken, so that a publisher that changes it all the time fills nobody's line. */
  #newSizeFor({ state }: Viewer): PageSize | null {
    const publisher = this.#sockets.publisher?.state
    if (publisher === undefined) return null
    const { width, height } = publisher
    return width === state.width && height === state.height ? null : { width, height }
  }
}
