import { FRAMES_IN_FLIGHT } from '../../protocol/stream.ts'

/**
 * What a frame is handed to. `onLeft` is called when the bytes have left this process, `onArrived` when the other end
 * has them; both also when neither will ever be.
 */
export type SendFrame = (frame: Uint8Array, onLeft: () => void, onArrived: () => void) => void

/**
 * Between a source that makes frames at its own pace and a line that may be slower: one frame is leaving, the newest
 * other one waits, and whatever comes between is dropped. So it never holds more than two. Nor are there more than
 * `FRAMES_IN_FLIGHT` anywhere on the line, whose buffers would otherwise take in seconds of old pictures.
 */
export class NewestFrame {
  readonly #send: SendFrame
  /** Of the line that is used now. */
  #line = { isLeaving: false, travelling: 0 }
  #waiting: Uint8Array | null = null

  constructor(send: SendFrame) {
    this.#send = send
  }

  push(frame: Uint8Array): void {
    this.#waiting = frame
    this.#pump()
  }

  /** The line is another one now: nothing is on its way on it, and what was made before is old. */
  clear(): void {
    this.#line = { isLeaving: false, travelling: 0 }
    this.#waiting = null
  }

  /** Nobody wants what waits any more. */
  drop(): void {
    this.#waiting = null
  }

  get held(): number {
    return (this.#line.isLeaving ? 1 : 0) + (this.#waiting === null ? 0 : 1)
  }

  #pump(): void {
    const line = this.#line
    const frame = this.#waiting
    if (frame === null || line.isLeaving || line.travelling >= FRAMES_IN_FLIGHT) return
    this.#waiting = null
    line.isLeaving = true
    line.travelling += 1
    this.#send(
      frame,
      () => {
        line.isLeaving = false
        this.#pump()
      },
      () => {
        line.travelling -= 1
        this.#pump()
      },
    )
  }
}
