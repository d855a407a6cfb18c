import { decodeFrame } from '../../protocol/stream.ts'

export interface Figures {
  readonly fps: number
  /** Milliseconds over the quickest frame so far. */
  readonly delayMs: number
}

const WINDOW_MS = 2_000

/** Draws frames on the canvas, one at a time, and says which one was drawn. */
export class Screen {
  readonly #canvas: HTMLCanvasElement
  readonly #context: CanvasRenderingContext2D
  readonly #onDrawn: (seq: number) => void
  readonly #drawnAt: number[] = []
  #queue: Promise<void> = Promise.resolve()
  #quickest = Number.POSITIVE_INFINITY
  #delayMs = 0

  constructor(canvas: HTMLCanvasElement, onDrawn: (seq: number) => void) {
    const context = canvas.getContext('2d')
    if (context === null) throw new Error('this browser has no 2D canvas')
    this.#canvas = canvas
    this.#context = context
    this.#onDrawn = onDrawn
  }

  /** The relay sends no more than two before it hears of the first, so nothing piles up here. */
  show(message: ArrayBuffer): void {
    this.#queue = this.#queue.then(() => this.#draw(new Uint8Array(message)))
  }

  figures(): Figures {
    const since = performance.now() - WINDOW_MS
    while ((this.#drawnAt[0] ?? since) < since) this.#drawnAt.shift()
    return { fps: this.#drawnAt.length / (WINDOW_MS / 1000), delayMs: this.#delayMs }
  }

  async #draw(bytes: Uint8Array): Promise<void> {
    const frame = decodeFrame(bytes)
    if (frame === null) return
    try {
      // Drawn at once, not at the next animation frame: a page in the background has none, and would stall.
      const picture = await createImageBitmap(new Blob([frame.image.slice()], { type: 'image/jpeg' }))
      if (this.#canvas.width !== picture.width || this.#canvas.height !== picture.height) {
        this.#canvas.width = picture.width
        this.#canvas.height = picture.height
        this.#canvas.style.setProperty('--ratio', String(picture.width / picture.height))
      }
      this.#context.drawImage(picture, 0, 0)
      picture.close()
      this.#measure(frame.capturedAtMs)
    } catch {
      // What cannot be decoded is skipped; the next one may be whole.
    }
    this.#onDrawn(frame.seq)
  }

  #measure(capturedAtMs: number): void {
    const took = Date.now() - capturedAtMs
    this.#quickest = Math.min(this.#quickest, took)
    this.#delayMs = took - this.#quickest
    this.#drawnAt.push(performance.now())
  }
}
