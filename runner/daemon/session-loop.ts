import type { Clock } from '../clock.ts'
import type { Executor } from '../executors/executor.ts'
import { Latch } from '../latch.ts'
import type { Log } from '../log.ts'
import type { JournalEntry, Observation } from '../session-types.ts'
import type { StateDirectory } from '../state/state-directory.ts'
import type { RunnerMetrics } from '../telemetry/instruments.ts'
import { Attempts } from './attempts.ts'
import type { Collecting } from './collecting.ts'
import type { SessionLedger } from './ledger.ts'
import { ReleaseWatch } from './release-watch.ts'
import type { Session } from './session.ts'
import { type Call, type EngineAction, SessionCalls } from './session-calls.ts'
import { logObservation } from './session-log.ts'

/** A SIGKILL that shows no effect is sent again, at this pace. */
const RESIGNAL_MS = 2_000
/** How long a SIGTERM waits for the call that would bring the session to run: an Engine that is well answers by then. */
const PATIENCE_MS = 2_000
/** Nothing is due: look again all the same. */
const IDLE_MS = 60_000
/** While anything has a deadline: its clock goes on while the machine is suspended, a timer does not. */
const DEADLINE_LOOK_MS = 1_000

export interface SessionLoopParts {
  readonly ledger: SessionLedger
  readonly executor: Executor
  readonly state: Pick<StateDirectory, 'journal' | 'removeSessionFolder'>
  readonly collecting: Pick<Collecting, 'watch' | 'ended' | 'isSpooled' | 'isDone' | 'forget'>
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Pick<RunnerMetrics, 'orphanRemoved' | 'sessionEnded'>
  /** Something that a sync would say may have changed. */
  readonly onChange: () => void
  /** What is known of the Engine may be wrong: list it again. */
  readonly onDoubt: () => void
}

/**
 * Carries out the ledger's plans: one Engine call and one journal write per session at a time. Deadlines are kept
 * here by a timer of their own, so that no call over the network can delay them.
 *
 * No call in flight keeps an end waiting: the call is given up and the signal sent at once. What was given up is not
 * heard any more and may take effect in the Engine at any later time. It does no harm, because
 * - an end is final: no step towards a start is taken after it, so a create that comes late is never started;
 * - a signal removes what was not started, and starts go by the container's id, so a start that comes after it finds
 *   nothing, and one that came before it is signalled;
 * - whatever turns up all the same is shown by a listing, killed if it runs, and removed;
 * - the folder is deleted only once nothing that was given up can still write to it.
 */
export class SessionLoop {
  readonly #parts: SessionLoopParts
  readonly #changed = new Latch()
  readonly #calls = new SessionCalls()
  readonly #attempts: Attempts
  readonly #releases: ReleaseWatch
  /** What they leave was brought and dropped; they are about to be gone, and collected from no more. */
  readonly #dropped = new Set<string>()
  readonly #journaling = new Set<string>()
  readonly #watching = new Map<string, AbortController>()
  readonly #signalled = new Map<string, { signal: string; atMs: number }>()

  constructor(parts: SessionLoopParts) {
    this.#parts = parts
    const { clock, ledger, log, onDoubt } = parts
    this.#releases = new ReleaseWatch(log)
    const runIdOf = (id: string) => ledger.session(id)?.entry?.run_id
    this.#attempts = new Attempts({ clock, log, runIdOf, onFailure: onDoubt })
  }

  observe(seen: Observation): void {
    const { ledger, clock, log, metrics } = this.#parts
    if (seen.type === 'removed' && isOrphan(ledger.session(seen.session_id))) metrics.orphanRemoved()
    const live = idsOf(seen).filter(id => ledger.session(id)?.phase.at !== 'ended')
    ledger.observe(seen, clock.now())
    for (const id of live) this.#noteEnd(ledger.session(id))
    if (seen.type === 'erased') this.#dropped.delete(seen.session_id)
    const session = 'session_id' in seen ? ledger.session(seen.session_id) : undefined
    logObservation(log, session, seen)
    if (seen.type === 'prepared' && seen.agent_version && session?.entry)
      this.#releases.note(session.entry.job.image, seen.agent_version)
    this.wake()
  }

  #noteEnd(session: Readonly<Session> | undefined): void {
    if (session?.phase.at !== 'ended' || session.entry === null) return
    this.#parts.metrics.sessionEnded(session.entry, session.phase.exit)
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
    this.#calls.abortAll()
  }

  /** True while something is being written or asked that should be finished before the process ends. */
  isBusy(): boolean {
    return this.#journaling.size > 0 || this.#calls.current().some(({ type }) => type !== 'prepare')
  }

  #pauseMs(): number {
    const now = this.#parts.clock.now()
    const deadlineMs = this.#parts.ledger.nextDueAt()
    const due = [deadlineMs ?? Number.POSITIVE_INFINITY]
    for (const { beganMs } of this.#calls.current()) {
      if (beganMs + PATIENCE_MS > now) due.push(beganMs + PATIENCE_MS)
    }
    due.push(...this.#attempts.dueAtMs())
    // Only a SIGKILL is repeated; one that is overdue is already on its way or waits for its retry.
    for (const { signal, atMs } of this.#signalled.values()) {
      if (signal === 'SIGKILL' && atMs + RESIGNAL_MS > now) due.push(atMs + RESIGNAL_MS)
    }
    // The clock ticks in hundredths: waiting a little longer avoids waking just before.
    const longestMs = deadlineMs === null ? IDLE_MS : DEADLINE_LOOK_MS
    return Math.min(longestMs, Math.max(10, Math.min(...due) - now + 10))
  }

  #pump(): void {
    const { ledger, clock, onDoubt } = this.#parts
    this.#collect()
    const actions = ledger.plan(clock.now())
    const wanted = new Set(actions.filter(one => one.type === 'prepare').map(one => one.session_id))
    for (const call of this.#calls.current()) {
      if (call.type === 'prepare' && !wanted.has(call.session_id)) this.#calls.giveUp(call)
    }
    for (const action of actions) {
      if (action.type === 'journal') {
        this.#journal(action.entry)
        continue
      }
      const call = this.#calls.of(action.session_id)
      if (call !== undefined && overtakes(action, call, clock.now())) {
        this.#calls.giveUp(call)
        // What it did, if anything, has to be seen.
        onDoubt()
      }
      this.#begin(action)
    }
    const running = new Set(ledger.runningIds())
    for (const id of running) this.#watch(id)
    for (const [id, abort] of this.#watching) if (!running.has(id)) abort.abort()
    for (const id of this.#signalled.keys())
      if (ledger.session(id)?.phase.at === 'ended') this.#signalled.delete(id)
  }

  #collect(): void {
    const { ledger, collecting } = this.#parts
    for (const id of ledger.collectableIds('running')) collecting.watch(id)
    for (const id of ledger.collectableIds('ended')) {
      if (this.#dropped.has(id)) continue
      collecting.watch(id)
      collecting.ended(id)
    }
  }

  #journal(entry: JournalEntry): void {
    const id = entry.session_id
    if (this.#journaling.has(id) || this.#attempts.mustWait('journal', id)) return
    this.#journaling.add(id)
    const work = async () => {
      await this.#parts.state.journal.write(entry)
      this.observe({ type: 'journaled', entry })
    }
    void this.#attempts.make('journal', id, work).finally(() => {
      this.#journaling.delete(id)
      this.#changed.raise()
    })
  }

  #begin(action: EngineAction): void {
    const { session_id, type } = action
    if (this.#calls.of(session_id) !== undefined || this.#isRepeatedSignal(action)) return
    if (this.#attempts.mustWait(type, session_id) || !this.#mayGo(action)) return
    const abort = new AbortController()
    const call = { session_id, type, beganMs: this.#parts.clock.now(), abort }
    this.#calls.begin(call)
    const work = async () => {
      const seen = await this.#perform(action, abort.signal)
      if (seen !== null && !abort.signal.aborted) this.observe(seen)
    }
    void this.#attempts.make(type, session_id, work, abort.signal).finally(() => {
      this.#calls.end(call)
      this.#changed.raise()
    })
  }

  /** What a session leaves is taken out of its container before that goes, and brought before its folder goes. */
  #mayGo({ type, session_id }: EngineAction): boolean {
    const { collecting } = this.#parts
    if (type === 'remove') return collecting.isSpooled(session_id)
    return type !== 'erase' || (collecting.isDone(session_id) && !this.#isWrittenTo(session_id))
  }

  #isWrittenTo(id: string): boolean {
    return this.#journaling.has(id) || this.#calls.hasStray(id)
  }

  async #perform(action: EngineAction, abort: AbortSignal): Promise<Observation | null> {
    const { executor } = this.#parts
    const session_id = action.session_id
    switch (action.type) {
      case 'prepare': {
        const onPulling = () => this.observe({ type: 'pulling', session_id })
        const prepared = await executor.prepare(session_id, action.job, { signal: abort, onPulling })
        return { ...prepared, session_id }
      }
      case 'create':
        return { ...(await executor.create(session_id, action.job, abort)), session_id }
      case 'start':
        return { ...(await executor.start(session_id, action.job, abort)), session_id }
      case 'terminate':
        return this.#signal(session_id, 'SIGTERM', abort)
      case 'kill':
        return this.#signal(session_id, 'SIGKILL', abort)
      case 'remove':
        await executor.remove(session_id, abort)
        return { type: 'removed', session_id }
      case 'erase':
        return this.#erase(session_id)
    }
  }

  async #signal(id: string, signal: 'SIGTERM' | 'SIGKILL', abort: AbortSignal): Promise<Observation | null> {
    const { executor, ledger, clock, log, onDoubt } = this.#parts
    const session = ledger.session(id)
    const detail = session?.ending?.message
    log.info({ session_id: id, run_id: session?.entry?.run_id, signal, detail }, 'stopping the session')
    const done = await executor.signal(id, signal, abort)
    if (done.type === 'not_running') return { type: 'not_running', session_id: id, container: done.container }
    if (abort.aborted) return null
    this.#signalled.set(id, { signal, atMs: clock.now() })
    // Nobody waits for its end yet, so a listing has to show it.
    if (session?.phase.at !== 'running') onDoubt()
    return null
  }

  async #erase(session_id: string): Promise<Observation> {
    const { state, collecting } = this.#parts
    await state.removeSessionFolder(session_id)
    this.#dropped.add(session_id)
    await collecting.forget(session_id)
    await state.journal.erase(session_id)
    this.#attempts.forget(session_id)
    return { type: 'erased', session_id }
  }

  /** A second SIGTERM makes many programs give up at once, so it is sent once. */
  #isRepeatedSignal({ type, session_id }: EngineAction): boolean {
    const last = this.#signalled.get(session_id)
    if (last === undefined) return false
    if (type === 'terminate') return true
    return type === 'kill' && last.signal === 'SIGKILL' && this.#parts.clock.now() - last.atMs < RESIGNAL_MS
  }

  #watch(id: string): void {
    if (this.#watching.has(id) || this.#attempts.mustWait('watch', id)) return
    const abort = new AbortController()
    this.#watching.set(id, abort)
    const waiting = async () => {
      const ended = await this.#parts.executor.wait(id, abort.signal)
      this.observe({ ...ended, session_id: id })
    }
    void this.#attempts.make('watch', id, waiting, abort.signal).finally(() => {
      this.#watching.delete(id)
      this.#changed.raise()
    })
  }
}

function idsOf(seen: Observation): string[] {
  if (seen.type === 'listing') return seen.found.map(({ session_id }) => session_id)
  return 'session_id' in seen ? [seen.session_id] : []
}

/** Nobody spoke of it, or only a former runner of this host did. */
function isOrphan(session: Readonly<Session> | undefined): boolean {
  return session !== undefined && (session.entry === null || session.isFormer)
}

/** Whether the action must not wait for the call in flight. A SIGKILL waits only for what kills as well. */
function overtakes(action: EngineAction, call: Call, nowMs: number): boolean {
  if (action.type === 'kill') return call.type !== 'kill' && call.type !== 'remove'
  const isForward = call.type === 'create' || call.type === 'start'
  return action.type === 'terminate' && isForward && nowMs - call.beganMs >= PATIENCE_MS
}
