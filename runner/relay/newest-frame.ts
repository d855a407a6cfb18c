/** What a frame is handed to. `done` is called when the bytes have left this process, or never will. */
export type SendFrame = (frame: Uint8Array, done: () => void) => void

/**
 * Between a source that makes frames at its own pace and a line that may be slower: one frame is on its way, the
 * newest other one waits, and whatever comes between is dropped. So it never holds more than two.
 */
export class NewestFrame {
  readonly #send: SendFrame
  #isSending = false
  #waiting: Uint8Array | null = null
  dropped = 0

  constructor(send: SendFrame) {
    this.#send = send
  }

  push(frame: Uint8Array): void {
    if (this.#isSending) {
      if (this.#waiting !== null) this.dropped += 1
      this.#waiting = frame
      return
    }
    this.#isSending = true
    this.#send(frame, () => {
      this.#isSending = false
      const next = this.#waiting
      this.#waiting = null
      if (next !== null) this.push(next)
    })
  }

  get held(): number {
    return (this.#isSending ? 1 : 0) + (this.#waiting === null ? 0 : 1)
  }
}
