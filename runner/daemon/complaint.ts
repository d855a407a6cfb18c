import type { Clock } from '../clock.ts'
import type { Log } from '../log.ts'

/** What goes on failing is said again at this pace: whoever looks at a log looks at its end. */
export const REPEAT_MS = 300_000

/** Something that is tried again and again: said when it begins to fail, and then now and then. */
export class Complaint {
  readonly #clock: Pick<Clock, 'now'>
  readonly #log: Pick<Log, 'warn'>
  #saidAtMs = Number.NEGATIVE_INFINITY

  constructor(clock: Pick<Clock, 'now'>, log: Pick<Log, 'warn'>) {
    this.#clock = clock
    this.#log = log
  }

  failed(line: object, what: string): void {
    const now = this.#clock.now()
    if (now - this.#saidAtMs < REPEAT_MS) return
    this.#saidAtMs = now
    this.#log.warn(line, what)
  }

  /** The next failure is news. */
  worked(): void {
    this.#saidAtMs = Number.NEGATIVE_INFINITY
  }
}
