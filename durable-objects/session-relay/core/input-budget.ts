/** Far above what a hand or a wheel makes; beyond it a page could keep the relay and the browser busy. */
const EVENTS_PER_SECOND = 240

/** How many input events each viewer may still send in the current second. Losing it lets a few more through. */
export class InputBudget {
  readonly #spent = new WeakMap<object, { second: number; events: number }>()

  /** @param now epoch milliseconds @returns false when the event is one too many and to be dropped */
  spend(viewer: object, now: number): boolean {
    const second = Math.floor(now / 1000)
    const before = this.#spent.get(viewer)
    const events = before?.second === second ? before.events + 1 : 1
    this.#spent.set(viewer, { second, events })
    return events <= EVENTS_PER_SECOND
  }
}
