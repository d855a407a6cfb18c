import { FramePace } from './frame-pace.ts'

/** A picture on its way from Chromium to the socket. */
export interface Picture {
  readonly image: Uint8Array
  /** Epoch milliseconds. */
  readonly capturedAtMs: number
  /** Of the page, in CSS pixels. */
  readonly width: number
  readonly height: number
  /** Tells Chromium that it may make another one. */
  readonly ack: () => void
}

export interface FrameLineParts {
  /** `done` is called when the bytes have left this process, or never will. */
  readonly send: (picture: Picture, done: () => void) => void
  /** Chromium may have swallowed the newest picture while it waited for acknowledgements: ask it for one. */
  readonly catchUp: () => void
  /** Monotonic milliseconds. */
  readonly now: () => number
}

/** After this long without a picture an animation has come to rest. */
const REST_MS = 250

/**
 * Between Chromium and a line that may be slower: one picture is being sent, the newest other one waits, what comes
 * between is dropped. Nothing is acknowledged to Chromium before the picture, or the newer one that took its place, has
 * left; so it stops making them by itself. The last state of a page must not get lost by that: a page that comes to
 * rest after pictures were held up is asked for once more.
 */
export class FrameLine {
  readonly #parts: FrameLineParts
  readonly #pace = new FramePace()
  #waiting: Picture | null = null
  #isSending = false
  #heldUp = false
  /** Of pictures that were dropped since the last one left. */
  #owed: (() => void)[] = []
  #pause: NodeJS.Timeout | undefined
  #rest: NodeJS.Timeout | undefined

  constructor(parts: FrameLineParts) {
    this.#parts = parts
  }

  /** The most pictures that this ever holds is two. */
  get held(): number {
    return (this.#isSending ? 1 : 0) + (this.#waiting === null ? 0 : 1)
  }

  setMaxFps(maxFps: number): void {
    this.#pace.setMaxFps(maxFps)
  }

  push(picture: Picture): void {
    clearTimeout(this.#rest)
    if (this.#waiting !== null) this.#owed.push(this.#waiting.ack)
    this.#waiting = picture
    this.#pump()
  }

  /** Nobody wants what is here any more. */
  clear(): void {
    clearTimeout(this.#pause)
    clearTimeout(this.#rest)
    this.#pause = undefined
    this.#waiting = null
    this.#owed = []
    this.#heldUp = false
  }

  #pump(): void {
    const picture = this.#waiting
    if (picture === null || this.#pause !== undefined) return
    if (this.#isSending) {
      this.#heldUp = true
      return
    }
    const waitMs = this.#pace.waitMs(this.#parts.now())
    if (waitMs > 0) {
      this.#heldUp = true
      this.#pause = setTimeout(() => {
        this.#pause = undefined
        this.#pump()
      }, Math.ceil(waitMs))
      return
    }
    this.#waiting = null
    this.#isSending = true
    this.#pace.left(this.#parts.now())
    const acks = [...this.#owed, picture.ack]
    this.#owed = []
    this.#parts.send(picture, () => this.#left(acks))
  }

  #left(acks: readonly (() => void)[]): void {
    this.#isSending = false
    for (const ack of acks) ack()
    this.#pump()
    if (this.#heldUp && this.held === 0) this.#rest = setTimeout(() => this.#catchUp(), REST_MS)
  }

  #catchUp(): void {
    this.#heldUp = false
    this.#parts.catchUp()
  }
}
