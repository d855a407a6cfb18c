/** Spaces frames so that no more than `maxFps` leave in a second. Pure: times are the caller's, in milliseconds. */
export class FramePace {
  #intervalMs = 0
  #lastMs = Number.NEGATIVE_INFINITY

  setMaxFps(maxFps: number): void {
    this.#intervalMs = 1000 / maxFps
  }

  /** @returns how long the next frame has to wait; 0 for not at all */
  waitMs(nowMs: number): number {
    return Math.max(0, this.#lastMs + this.#intervalMs - nowMs)
  }

  left(nowMs: number): void {
    this.#lastMs = nowMs
  }
}
