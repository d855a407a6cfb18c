/** The world's one true time and everything that is still going to happen in it. */
export class Clockwork {
  /** True time in milliseconds; no part of the system under test ever sees it. */
  now = 1_800_000_000_000
  readonly #events: { at: number; order: number; run: () => void }[] = []
  #order = 0

  after(delayMs: number, run: () => void): void {
    const event = { at: this.now + Math.max(0, delayMs), order: this.#order++, run }
    let low = 0
    let high = this.#events.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const other = this.#events[middle]
      if (
        other !== undefined &&
        (other.at < event.at || (other.at === event.at && other.order < event.order))
      ) {
        low = middle + 1
      } else high = middle
    }
    this.#events.splice(low, 0, event)
  }

  /** Lets the next thing happen. @returns false when nothing is left before `until` */
  step(until: number): boolean {
    const event = this.#events[0]
    if (event === undefined || event.at > until) return false
    this.#events.shift()
    this.now = event.at
    event.run()
    return true
  }
}
