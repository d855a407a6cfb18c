import { EXIT_SIGNALLED, type StopSignal } from './exit-codes.ts'

/** One press arrives more than once where the terminal and a launcher both pass it on. */
const SAME_PRESS_MS = 1_000

/** Ctrl-C and its like, while a command that may go on is under way. */
export class Interrupts {
  readonly #first = new AbortController()
  readonly #second = new AbortController()
  #firstAt = 0
  #signal: StopSignal = 'SIGINT'

  /** Aborted by the first signal. */
  get first(): AbortSignal {
    return this.#first.signal
  }

  /** Aborted by another one that is no echo of the first. */
  get second(): AbortSignal {
    return this.#second.signal
  }

  get exitCode(): number {
    return EXIT_SIGNALLED[this.#signal]
  }

  /** @param now epoch milliseconds */
  arrived(signal: StopSignal, now: number): void {
    if (!this.#first.signal.aborted) {
      this.#signal = signal
      this.#firstAt = now
      this.#first.abort()
    } else if (now - this.#firstAt >= SAME_PRESS_MS) {
      this.#second.abort()
    }
  }
}

/** From now on signals end nothing by themselves. */
export function listenForInterrupts(): Interrupts {
  const interrupts = new Interrupts()
  for (const signal of Object.keys(EXIT_SIGNALLED) as StopSignal[]) {
    process.on(signal, () => interrupts.arrived(signal, Date.now()))
  }
  return interrupts
}
