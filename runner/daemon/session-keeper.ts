import type { ApiClient } from '../api/client.ts'
import type { Clock } from '../clock.ts'
import { sleep } from '../clock.ts'
import type { Config } from '../config.ts'
import { Latch } from '../latch.ts'
import type { Log } from '../log.ts'
import type { Policy } from '../policy.ts'
import type { JournalEntry, LastSync, Observation } from '../session-types.ts'
import type { StateDirectory, StoredCredential } from '../state/state-directory.ts'
import { supervise } from '../supervisor.ts'
import type { RunnerMetrics } from '../telemetry/instruments.ts'
import { Collecting } from './collecting.ts'
import { diskLoop } from './disk-loop.ts'
import type { ExecutorSetup } from './engine-setup.ts'
import type { HealthState } from './health.ts'
import { inventoryLoop } from './inventory-loop.ts'
import { SessionLedger } from './ledger.ts'
import { installationId, type Membership } from './runner-identity.ts'
import { SessionLoop } from './session-loop.ts'

/** How long the first sync waits for the first listing; sessions restored must be renewed before their leases end. */
const FIRST_LOOK_MS = 2_000
const POLL_MS = 200

interface SessionKeeperParts {
  readonly config: Config
  readonly policy: Policy
  readonly state: StateDirectory
  readonly clock: Clock
  readonly log: Log
  readonly health: HealthState
  readonly metrics: RunnerMetrics
  readonly setup: ExecutorSetup
  /** As it was found at the start, whoever it was given to. */
  readonly stored: StoredCredential | null
}

export function slotsOf({ config, policy }: Pick<SessionKeeperParts, 'config' | 'policy'>): number {
  return Math.min(config.MAX_CONCURRENCY, policy.max_concurrency ?? config.MAX_CONCURRENCY)
}

/**
 * The sessions of this host from the first moment on: what an earlier process left running has deadlines, and they
 * are kept whether or not the runner ever gets into its pool again.
 */
export class SessionKeeper {
  /** Of an earlier process, as far as it is known. */
  readonly lastSync: LastSync | null
  readonly ledger: SessionLedger
  readonly sessions: SessionLoop
  readonly #loops: readonly ((signal: AbortSignal) => Promise<void>)[]
  readonly #looked = new Latch()
  readonly #clock: Clock
  readonly #collecting: Collecting
  #runnerId = ''
  #onChange: () => void = () => undefined

  constructor(parts: SessionKeeperParts) {
    const { clock, config, health, log, metrics, setup, state } = parts
    const entries = restoreEntries(parts)
    const lastSync = state.lastSync(log)
    const ledger = new SessionLedger({
      installationId: setup.installationId,
      slotsMax: slotsOf(parts),
      stopGraceMs: config.RUNNER_STOP_GRACE_SECONDS * 1000,
      restored: entries,
      lastSync,
      isTraced: config.OTEL_EXPORTER_OTLP_ENDPOINT !== null,
    })
    const runIdOf = (id: string) => ledger.session(id)?.entry?.run_id ?? ''
    const formerInstallations = formerOnes(entries, parts)
    const executor = setup.build({ runnerId: () => this.#runnerId, runIdOf, formerInstallations })
    const doubt = new Latch()
    const onChange = () => this.#onChange()
    const onDoubt = () => doubt.raise()
    const collecting = new Collecting({
      executor,
      state,
      config,
      clock,
      log,
      onChange: () => sessions.wake(),
    })
    const sessions = new SessionLoop({
      ledger,
      executor,
      state,
      collecting,
      clock,
      log,
      metrics,
      onChange,
      onDoubt,
    })
    const observe = (seen: Observation) => {
      if (seen.type === 'listing') health.set('engine', null)
      if (seen.type === 'listing_failed') health.set('engine', 'the sessions on this host cannot be listed')
      sessions.observe(seen)
      this.#looked.raise()
    }
    const disk = {
      ledger,
      clock,
      log,
      limitMb: config.RUNNER_SESSION_DISK_MB,
      folderOf: (id: string) => state.sessionFolder(id),
      onChange: () => sessions.wake(),
    }
    metrics.observeSlots(() => ({ total: slotsOf(parts), busy: ledger.liveCount() }))
    this.#clock = clock
    this.lastSync = lastSync
    this.ledger = ledger
    this.sessions = sessions
    this.#collecting = collecting
    this.#loops = [
      signal => sessions.run(signal),
      signal => inventoryLoop({ executor, clock, log, doubt, observe }, signal),
      signal => diskLoop(disk, signal),
      signal => collecting.run(signal),
    ]
  }

  /** @param onChange called when something that a sync would say may have changed */
  join(api: ApiClient, membership: Membership, onChange: () => void): void {
    this.#runnerId = membership.identity.runnerId
    this.#collecting.join(api, membership)
    this.#onChange = onChange
    this.ledger.join(this.#clock.now())
    this.sessions.wake()
  }

  /** Resolves once what exists was looked at, or when the first sync can wait no longer. */
  async firstLook(signal: AbortSignal): Promise<void> {
    await this.#looked.wait(FIRST_LOOK_MS, signal)
  }

  /** Resolves when nothing runs any more that would have to be ended. */
  async allEnded(signal: AbortSignal): Promise<void> {
    while (!signal.aborted && this.ledger.liveCount() > 0) await sleep(POLL_MS, signal)
  }

  async run(signal: AbortSignal): Promise<void> {
    await supervise(this.#loops, signal)
  }
}

function restoreEntries({ state, log }: SessionKeeperParts): readonly JournalEntry[] {
  const { entries, unusable } = state.journal.restore()
  if (unusable.length > 0) {
    const remedy = 'mend their permissions and start again, or remove them: what ran is found without them'
    log.error(
      { files: unusable, remedy },
      'journal entries are damaged or cannot be read; they are left alone',
    )
  }
  for (const { session_id, run_id, step } of entries) {
    log.info({ session_id, run_id, step }, 'found in the journal')
  }
  return entries
}

/** A session's journal entry outlives its container, so no former installation is forgotten while anything is left. */
function formerOnes(
  entries: readonly JournalEntry[],
  { setup, stored }: SessionKeeperParts,
): readonly string[] {
  const all = new Set(entries.map(({ installation_id }) => installation_id))
  if (stored !== null) all.add(installationId(stored.pool_id, stored.name, stored.engine_id))
  all.delete(setup.installationId)
  return [...all]
}
