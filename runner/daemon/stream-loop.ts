import type { Config } from '../config.ts'
import { Latch } from '../latch.ts'
import type { Log } from '../log.ts'
import type { Policy } from '../policy.ts'
import { Publisher } from '../relay/publisher.ts'
import type { StateDirectory } from '../state/state-directory.ts'
import type { RunnerMetrics } from '../telemetry/instruments.ts'
import type { SessionLedger } from './ledger.ts'
import type { Membership } from './runner-identity.ts'

/** Nothing happens by itself here; this only makes up for a wake-up that was missed. */
const IDLE_MS = 10_000

export interface StreamLoopParts {
  readonly config: Config
  readonly policy: Pick<Policy, 'allow_control_input'>
  readonly state: Pick<StateDirectory, 'sessionFolder'>
  readonly membership: Membership
  readonly ledger: Pick<SessionLedger, 'session' | 'streams'>
  readonly log: Log
  readonly metrics: Pick<RunnerMetrics, 'relayFailed'>
  /** Something that a sync would say has changed. */
  readonly onChange: () => void
}

/** Keeps one publisher per session that is to be watched, for as long as it is. */
export class StreamLoop {
  readonly #parts: StreamLoopParts
  readonly #changed = new Latch()
  readonly #publishers = new Map<string, AbortController>()

  constructor(parts: StreamLoopParts) {
    this.#parts = parts
  }

  /** To be called after a reply was applied or a session changed. */
  wake(): void {
    this.#changed.raise()
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#match()
      await this.#changed.wait(IDLE_MS, signal)
    }
    for (const stop of this.#publishers.values()) stop.abort()
  }

  #match(): void {
    const { ledger } = this.#parts
    const wishes = ledger.streams
    const isLive = (id: string) => {
      const session = ledger.session(id)
      return session !== undefined && session.phase.at !== 'ended'
    }
    for (const id of wishes.wanted()) if (!isLive(id)) wishes.forget(id)
    const wanted = new Set(wishes.wanted())
    for (const [id, stop] of this.#publishers) if (!wanted.has(id)) stop.abort()
    for (const id of wanted) if (!this.#publishers.has(id)) this.#publish(id)
  }

  #publish(id: string): void {
    const { config, policy, state, membership, ledger, log, metrics, onChange } = this.#parts
    const wishes = ledger.streams
    const stop = new AbortController()
    this.#publishers.set(id, stop)
    const run_id = ledger.session(id)?.entry?.run_id
    const about = log.child({ session_id: id, run_id, runner_id: membership.identity.runnerId })
    about.info('open_stream: connecting to the relay')
    const publisher = new Publisher({
      config,
      membership,
      sessionId: id,
      folder: state.sessionFolder(id),
      log: about,
      metrics,
      allowControlInput: policy.allow_control_input,
      onOpen: isOpen => {
        wishes.noteOpen(id, isOpen)
        onChange()
      },
    })
    void publisher
      .run(stop.signal)
      .catch(error => about.error({ error }, 'the live view of the session broke'))
      .finally(() => {
        this.#publishers.delete(id)
        wishes.noteOpen(id, false)
        // Not told to stop, so the relay has no more use for it: whoever wants it again says so.
        if (!stop.signal.aborted) wishes.forget(id)
        about.info('the line to the relay is closed')
        this.#changed.raise()
        onChange()
      })
  }
}
