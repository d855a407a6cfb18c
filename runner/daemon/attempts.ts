import { backoffMs } from '../api/backoff.ts'
import type { Clock } from '../clock.ts'
import { type Log, reasonOf } from '../log.ts'
import type { Action } from './ledger-types.ts'

/** Shortest and longest pause before what failed is tried again. */
const RETRY_FLOOR_MS = 200
const RETRY_CAP_MS = 5_000

type Attempted = Action['type'] | 'watch'

interface Retry {
  readonly failures: number
  readonly atMs: number
}

interface AttemptsParts {
  readonly clock: Clock
  readonly log: Log
  /** Something failed, so what is known of the Engine may be wrong. */
  readonly onFailure: () => void
}

const COMPLAINTS: Partial<Record<Attempted, string>> = {
  journal: 'the journal cannot be written; nothing new is started until it can',
  watch: 'lost sight of the session; looking again',
}

/** What is tried for sessions, again and again until it succeeds, with growing pauses of each thing's own. */
export class Attempts {
  readonly #parts: AttemptsParts
  /** By session, then by what is tried. */
  readonly #retries = new Map<string, Map<Attempted, Retry>>()

  constructor(parts: AttemptsParts) {
    this.#parts = parts
  }

  /** @param abort once it is raised, no outcome is heard */
  async make(
    type: Attempted,
    sessionId: string,
    work: () => Promise<void>,
    abort?: AbortSignal,
  ): Promise<void> {
    try {
      await work()
      this.#retries.get(sessionId)?.delete(type)
    } catch (error) {
      if (!abort?.aborted) this.#failed(type, sessionId, error)
    }
  }

  mustWait(type: Attempted, sessionId: string): boolean {
    const retry = this.#retries.get(sessionId)?.get(type)
    return retry !== undefined && retry.atMs > this.#parts.clock.now()
  }

  /** When the pauses that are still on end. */
  dueAtMs(): number[] {
    const now = this.#parts.clock.now()
    const all = [...this.#retries.values()].flatMap(of => [...of.values()])
    return all.map(({ atMs }) => atMs).filter(atMs => atMs > now)
  }

  /** Nothing more is tried for the session. */
  forget(sessionId: string): void {
    this.#retries.delete(sessionId)
  }

  #failed(type: Attempted, sessionId: string, error: unknown): void {
    const { clock, log, onFailure } = this.#parts
    const retries = this.#retries.get(sessionId) ?? new Map<Attempted, Retry>()
    const failures = (retries.get(type)?.failures ?? 0) + 1
    const pauseMs = Math.max(RETRY_FLOOR_MS, backoffMs(failures, 0, Math.random, RETRY_CAP_MS))
    retries.set(type, { failures, atMs: clock.now() + pauseMs })
    this.#retries.set(sessionId, retries)
    const line = { about: `${type} ${sessionId}`, failures, error: reasonOf(error) }
    const complaint = COMPLAINTS[type] ?? `cannot ${type} the session`
    if (failures === 1) log.warn(line, complaint)
    else log.debug(line, complaint)
    onFailure()
  }
}
