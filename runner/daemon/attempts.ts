import { backoffMs } from '../api/backoff.ts'
import type { Clock } from '../clock.ts'
import { REPEAT_MS } from '../complaint.ts'
import { type Log, reasonOf } from '../log.ts'
import type { Action } from '../session-types.ts'

/** Shortest and longest pause before what failed is tried again. */
const RETRY_FLOOR_MS = 200
const RETRY_CAP_MS = 5_000

type Attempted = Action['type'] | 'watch'

interface Retry {
  readonly failures: number
  readonly atMs: number
  readonly saidAtMs: number
}

interface AttemptsParts {
  readonly clock: Clock
  readonly log: Log
  readonly runIdOf: (sessionId: string) => string | undefined
  /** Something failed, so what is known of the Engine may be wrong. */
  readonly onFailure: () => void
}

const ENGINE = 'check that the Docker Engine runs and see its own log; it is asked again until it answers'
const STATE =
  'free space on the disk of RUNNER_STATE_DIR, or mend its permissions; it is tried again until it works'

/** What is said of a failure, and what to do about it. */
const COMPLAINTS: Readonly<Record<Attempted, { readonly what: string; readonly remedy: string }>> = {
  journal: { what: 'the journal cannot be written; nothing new is started until it can', remedy: STATE },
  prepare: { what: 'cannot get the image of the session', remedy: ENGINE },
  create: { what: 'cannot create the session', remedy: ENGINE },
  start: { what: 'cannot start the session', remedy: ENGINE },
  terminate: { what: 'cannot send SIGTERM to the session', remedy: ENGINE },
  kill: { what: 'cannot kill the session', remedy: ENGINE },
  remove: { what: 'cannot remove what ran the session', remedy: ENGINE },
  erase: { what: 'cannot erase the session’s folder and journal entry', remedy: STATE },
  watch: { what: 'lost sight of the session; looking again', remedy: ENGINE },
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
    const { clock, log, runIdOf, onFailure } = this.#parts
    const retries = this.#retries.get(sessionId) ?? new Map<Attempted, Retry>()
    const before = retries.get(type)
    const failures = (before?.failures ?? 0) + 1
    const pauseMs = Math.max(RETRY_FLOOR_MS, backoffMs(failures, 0, Math.random, RETRY_CAP_MS))
    const now = clock.now()
    const isSaid = before !== undefined && now - before.saidAtMs < REPEAT_MS
    retries.set(type, { failures, atMs: now + pauseMs, saidAtMs: isSaid ? before.saidAtMs : now })
    this.#retries.set(sessionId, retries)
    const { what, remedy } = COMPLAINTS[type]
    const about = { session_id: sessionId, run_id: runIdOf(sessionId) }
    const line = { ...about, failures, error: reasonOf(error), remedy }
    if (isSaid) log.debug(line, what)
    else log.warn(line, what)
    onFailure()
  }
}
