import { backoffMs } from '../api/backoff.ts'
import type { Clock } from '../clock.ts'
import type { Executor } from '../executors/executor.ts'
import { type Log, reasonOf } from '../log.ts'
import type { StateDirectory } from '../state/state-directory.ts'
import { Latch } from './latch.ts'
import type { SessionLedger } from './ledger.ts'
import type { Action, JournalEntry, Observation } from './ledger-types.ts'
import { logObservation } from './session-log.ts'

/** Longest pause before an action that the Engine did not answer is tried again. */
const RETRY_CAP_MS = 5_000
/** A SIGKILL that shows no effect is sent again, at this pace. */
const RESIGNAL_MS = 2_000
/** Nothing is due: look again all the same. */
const IDLE_MS = 60_000

type EngineAction = Exclude<Action, { readonly type: 'journal' }>

export interface SessionLoopParts {
  readonly ledger: SessionLedger
  readonly executor: Executor
  readonly state: Pick<StateDirectory, 'journal' | 'removeSessionFolder'>
  readonly clock: Clock
  readonly log: Log
  /** Something that a sync would say may have changed. */
  readonly onChange: () => void
  /** What is known of the Engine may be wrong: list it again. */
  readonly onDoubt: () => void
}

/**
 * Carries out the ledger's plans: one Engine action and one journal write per session at a time. Deadlines are kept
 * here by a timer of their own, so that no call over the network can delay them.
 */
export class SessionLoop {
  readonly #parts: SessionLoopParts
  readonly #changed = new Latch()
  readonly #working = new Map<
    string,
    { readonly type: EngineAction['type']; readonly abort: AbortController }
  >()
  readonly #journaling = new Set<string>()
  readonly #watching = new Map<string, AbortController>()
  readonly #retries = new Map<string, { failures: number; atMs: number }>()
  readonly #signalled = new Map<string, { signal: string; atMs: number }>()

  constructor(parts: SessionLoopParts) {
    this.#parts = parts
  }

  observe(seen: Observation): void {
    const { ledger, clock, log } = this.#parts
    ledger.observe(seen, clock.now())
    logObservation(log, 'session_id' in seen ? ledger.session(seen.session_id) : undefined, seen)
    this.wake()
  }

  /** To be called after the ledger was changed by anything else. */
  wake(): void {
    this.#changed.raise()
    this.#parts.onChange()
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#pump()
      await this.#changed.wait(this.#pauseMs(), signal)
    }
    for (const abort of this.#watching.values()) abort.abort()
    for (const { type, abort } of this.#working.values()) if (type === 'prepare') abort.abort()
  }

  /** True while something is being written or asked that should be finished before the process ends. */
  isBusy(): boolean {
    return this.#journaling.size > 0 || [...this.#working.values()].some(({ type }) => type !== 'prepare')
  }

  #pauseMs(): number {
    const now = this.#parts.clock.now()
    const due = [this.#parts.ledger.nextDueAt() ?? Number.POSITIVE_INFINITY]
    for (const { atMs } of this.#retries.values()) if (atMs > now) due.push(atMs)
    // Only a SIGKILL is repeated; one that is overdue is already on its way or waits for its retry.
    for (const { signal, atMs } of this.#signalled.values()) {
      if (signal === 'SIGKILL' && atMs + RESIGNAL_MS > now) due.push(atMs + RESIGNAL_MS)
    }
    // The clock ticks in hundredths: waiting a little longer avoids waking just before.
    return Math.min(IDLE_MS, Math.max(10, Math.min(...due) - now + 10))
  }

  #pump(): void {
    const { ledger, clock } = this.#parts
    const actions = ledger.plan(clock.now())
    const wanted = new Set(actions.filter(one => one.type === 'prepare').map(one => one.session_id))
    for (const [id, { type, abort }] of this.#working) {
      if (type === 'prepare' && !wanted.has(id)) abort.abort()
    }
    for (const action of actions) {
      if (action.type === 'journal') this.#journal(action.entry)
      else this.#begin(action)
    }
    for (const id of ledger.runningIds()) this.#watch(id)
    for (const id of this.#signalled.keys())
      if (ledger.session(id)?.phase.at === 'ended') this.#signalled.delete(id)
  }

  #journal(entry: JournalEntry): void {
    const id = entry.session_id
    const key = `journal ${id}`
    if (this.#journaling.has(id) || this.#mustWait(key)) return
    this.#journaling.add(id)
    void this.#attempt(
      key,
      'the journal cannot be written; nothing new is started until it can',
      async () => {
        await this.#parts.state.journal.write(entry)
        this.observe({ type: 'journaled', entry })
      },
    ).finally(() => {
      this.#journaling.delete(id)
      this.#changed.raise()
    })
  }

  #begin(action: EngineAction): void {
    const id = action.session_id
    if (this.#working.has(id) || this.#mustWait(id) || this.#isRepeatedSignal(action)) return
    if (action.type === 'erase' && this.#journaling.has(id)) return
    const abort = new AbortController()
    this.#working.set(id, { type: action.type, abort })
    void this.#attempt(id, `cannot ${action.type} the session`, () =>
      this.#perform(action, abort.signal),
    ).finally(() => {
      this.#working.delete(id)
      this.#changed.raise()
    })
  }

  async #perform(action: EngineAction, signal: AbortSignal): Promise<void> {
    const { executor, state } = this.#parts
    const session_id = action.session_id
    switch (action.type) {
      case 'prepare': {
        const onPulling = () => this.observe({ type: 'pulling', session_id })
        const prepared = await executor.prepare(session_id, action.job, { signal, onPulling })
        if (signal.aborted) return
        this.observe({ ...prepared, session_id })
        return
      }
      case 'create': {
        const created = await executor.create(session_id, action.job)
        this.observe({ ...created, session_id })
        return
      }
      case 'start': {
        const started = await executor.start(session_id, action.job)
        this.observe({ ...started, session_id })
        return
      }
      case 'terminate':
        return this.#signal(session_id, 'SIGTERM')
      case 'kill':
        return this.#signal(session_id, 'SIGKILL')
      case 'remove':
        await executor.remove(session_id)
        this.observe({ type: 'removed', session_id })
        return
      case 'erase':
        await state.removeSessionFolder(session_id)
        await state.journal.erase(session_id)
        for (const key of [`journal ${session_id}`, `watch ${session_id}`]) this.#retries.delete(key)
        this.observe({ type: 'erased', session_id })
    }
  }

  async #signal(id: string, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const { executor, ledger, clock, log, onDoubt } = this.#parts
    const session = ledger.session(id)
    const detail = session?.ending?.message
    log.info({ session_id: id, run_id: session?.entry?.run_id, signal, detail }, 'stopping the session')
    const done = await executor.signal(id, signal)
    if (done.type === 'not_running') {
      this.observe({ type: 'not_running', session_id: id, container: done.container })
      return
    }
    this.#signalled.set(id, { signal, atMs: clock.now() })
    // Nobody waits for its end yet, so a listing has to show it.
    if (session?.phase.at !== 'running') onDoubt()
  }

  /** A second SIGTERM makes many programs give up at once, so it is sent once. */
  #isRepeatedSignal({ type, session_id }: EngineAction): boolean {
    const last = this.#signalled.get(session_id)
    if (last === undefined) return false
    if (type === 'terminate') return true
    return type === 'kill' && last.signal === 'SIGKILL' && this.#parts.clock.now() - last.atMs < RESIGNAL_MS
  }

  #watch(id: string): void {
    if (this.#watching.has(id) || this.#mustWait(`watch ${id}`)) return
    const abort = new AbortController()
    this.#watching.set(id, abort)
    const waiting = async () => {
      const ended = await this.#parts.executor.wait(id, abort.signal)
      this.observe({ ...ended, session_id: id })
    }
    void this.#attempt(`watch ${id}`, 'lost sight of the session; looking again', waiting).finally(() => {
      this.#watching.delete(id)
      this.#changed.raise()
    })
  }

  #mustWait(key: string): boolean {
    const retry = this.#retries.get(key)
    return retry !== undefined && retry.atMs > this.#parts.clock.now()
  }

  async #attempt(key: string, complaint: string, work: () => Promise<void>): Promise<void> {
    const { clock, log, onDoubt } = this.#parts
    try {
      await work()
      this.#retries.delete(key)
    } catch (error) {
      const failures = (this.#retries.get(key)?.failures ?? 0) + 1
      const pauseMs = Math.max(200, backoffMs(failures, 0, Math.random, RETRY_CAP_MS))
      this.#retries.set(key, { failures, atMs: clock.now() + pauseMs })
      const line = { about: key, failures, error: reasonOf(error) }
      if (failures === 1) log.warn(line, complaint)
      else log.debug(line, complaint)
      onDoubt()
    }
  }
}
