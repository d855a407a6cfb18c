/** Far above what a hand or a wheel makes; beyond it a page could keep the relay and the browser busy. */
const EVENTS_PER_SECOND = 240
/** The runner's line has no backpressure either; pasted text is the largest of what goes this way. */
const CHARACTERS_PER_SECOND = 64 * 1024

interface Spent {
  readonly second: number
  readonly events: number
  readonly characters: number
}

/** How much input each viewer may still send in the current second. Losing it lets a little more through. */
export class InputBudget {
  readonly #spent = new WeakMap<object, Spent>()

  /** @param now epoch milliseconds @returns false when the event is one too many and to be dropped */
  spend(viewer: object, characters: number, now: number): boolean {
    const second = Math.floor(now / 1000)
    const last = this.#spent.get(viewer)
    const before = last?.second === second ? last : { events: 0, characters: 0 }
    const spent = { second, events: before.events + 1, characters: before.characters + characters }
    this.#spent.set(viewer, spent)
    return spent.events <= EVENTS_PER_SECOND && spent.characters <= CHARACTERS_PER_SECOND
  }
}
