import type { Clock } from './clock.ts'
import type { Log } from './log.ts'

/** What goes on failing is said again at this pace: whoever looks at a log looks at its end. */
export const REPEAT_MS = 300_000
/** While the control plane cannot be reached nothing else happens, and somebody is at work on it. */
export const OUTAGE_REPEAT_MS = 60_000

type Level = 'info' | 'warn' | 'error'

/**
 * Something that is tried again and again: said when it begins to fail or fails in another way, then now and then with
 * how often it has failed and since when, and when it works again.
 */
export class Complaint {
  readonly #clock: Pick<Clock, 'now'>
  readonly #log: Pick<Log, Level | 'debug'>
  readonly #repeatMs: number
  #what = ''
  #saidAtMs = 0
  #failures = 0
  #since = ''

  constructor(clock: Pick<Clock, 'now'>, log: Pick<Log, Level | 'debug'>, repeatMs = REPEAT_MS) {
    this.#clock = clock
    this.#log = log
    this.#repeatMs = repeatMs
  }

  failed(line: object, what: string, level: Level = 'warn'): void {
    const now = this.#clock.now()
    if (this.#failures === 0) this.#since = new Date().toISOString()
    this.#failures += 1
    const isSaid = this.#what === what && now - this.#saidAtMs < this.#repeatMs
    const all = { ...line, failures: this.#failures, since: this.#since }
    if (isSaid) return this.#log.debug(all, what)
    this.#what = what
    this.#saidAtMs = now
    this.#log[level](all, what)
  }

  /** The next failure is news. @param what is said of it, where there was one */
  worked(what?: string): void {
    if (this.#failures === 0) return
    if (what !== undefined) this.#log.info({ failures: this.#failures, since: this.#since }, what)
    this.#what = ''
    this.#failures = 0
  }
}
