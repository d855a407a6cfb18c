import type { ApiClient } from '../api/client.ts'
import { UploadCalls } from '../api/uploads.ts'
import type { Clock } from '../clock.ts'
import { Collector } from '../collect/collector.ts'
import { Spool } from '../collect/spool.ts'
import type { Config } from '../config.ts'
import type { Executor } from '../executors/executor.ts'
import { type Log, reasonOf } from '../log.ts'
import type { StateDirectory } from '../state/state-directory.ts'
import type { Membership } from './runner-identity.ts'

/** A container is kept no longer than this for the sake of its output. */
const SPOOL_LIMIT_MS = 5 * 60_000

export interface CollectingParts {
  readonly executor: Pick<Executor, 'output'>
  readonly state: Pick<StateDirectory, 'sessionFolder' | 'spoolPath'>
  readonly config: Pick<Config, 'RUNNER_LOG_CAP_MB'>
  readonly clock: Clock
  readonly log: Log
  /** Something was brought to its end. */
  readonly onChange: () => void
}

interface Running {
  readonly collector: Collector
  hasEnded: boolean
  isSpooled: boolean
  isDone: boolean
}

/** One collector for each session that has anything to leave, from its start until everything was brought. */
export class Collecting {
  readonly #parts: CollectingParts
  readonly #running = new Map<string, Running>()
  readonly #stop = new AbortController()
  #calls: UploadCalls | null = null

  constructor(parts: CollectingParts) {
    this.#parts = parts
  }

  /** Until aborted; what is not brought by then is brought by the next daemon. */
  async run(signal: AbortSignal): Promise<void> {
    if (!signal.aborted) {
      await new Promise<void>(resolve => signal.addEventListener('abort', () => resolve(), { once: true }))
    }
    this.#stop.abort()
  }

  /** Nothing can be brought before the runner is in its pool. */
  join(api: ApiClient, membership: Membership): void {
    this.#calls = new UploadCalls(api, () => membership.identity)
  }

  /** The session runs, or has run. */
  watch(sessionId: string): void {
    const calls = this.#calls
    if (calls === null || this.#running.has(sessionId) || this.#stop.signal.aborted) return
    const { executor, state, config, clock, log, onChange } = this.#parts
    const about = log.child({ session_id: sessionId })
    const collector = new Collector({
      sessionId,
      folder: state.sessionFolder(sessionId),
      spoolPath: state.spoolPath(sessionId),
      logCapBytes: config.RUNNER_LOG_CAP_MB * 1024 * 1024,
      output: signal => executor.output(sessionId, signal),
      calls,
      clock,
      log: about,
    })
    const running: Running = { collector, hasEnded: false, isSpooled: false, isDone: false }
    this.#running.set(sessionId, running)
    const mayGo = () => {
      running.isSpooled = true
      onChange()
    }
    void collector.spooled.then(mayGo)
    const { signal } = this.#stop
    void collector
      .run(signal)
      .catch(error => {
        if (!signal.aborted)
          about.error({ error: reasonOf(error) }, 'what the session leaves cannot be collected')
      })
      .finally(() => {
        if (signal.aborted) return
        running.isDone = true
        mayGo()
      })
  }

  /** Nothing more comes of the session. */
  ended(sessionId: string): void {
    const running = this.#running.get(sessionId)
    if (running === undefined || running.hasEnded) return
    running.hasEnded = true
    running.collector.end()
    const late = setTimeout(() => {
      running.isSpooled = true
      this.#parts.onChange()
    }, SPOOL_LIMIT_MS)
    late.unref()
  }

  /** Whether the session's container may go. */
  isSpooled(sessionId: string): boolean {
    return this.#running.get(sessionId)?.isSpooled ?? true
  }

  /** Whether the session's folder may go: everything was brought, or nothing can be. */
  isDone(sessionId: string): boolean {
    return this.#running.get(sessionId)?.isDone ?? true
  }

  async forget(sessionId: string): Promise<void> {
    this.#running.delete(sessionId)
    await Spool.remove(this.#parts.state.spoolPath(sessionId))
  }
}
