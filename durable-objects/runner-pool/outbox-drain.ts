import type { Run, RunEvent } from '../../protocol/run.ts'
import { timestamp } from '../../protocol/text.ts'
import type { OutboxEntry } from './core/model.ts'
import { toRun } from './core/runs.ts'
import type { PoolStore } from './store/store.ts'

/**
 * Moves run events to D1. At least once and in run order; D1 keeps only the first copy of an event and the
 * highest version of a run, so a batch whose confirmation is lost is simply sent again.
 */
const BATCH_ENTRIES = 50
/** One alarm does not drain for ever; the next one goes on. */
const BATCHES_PER_DRAIN = 20
const RETRY_FIRST_MS = 1_000
const RETRY_CAP_MS = 60_000

/** One run's newest snapshot and the events D1 may not have yet. */
export interface RunProjection {
  readonly tenantId: string
  readonly version: number
  readonly run: Run
  readonly events: readonly { readonly seq: number; readonly event: RunEvent }[]
}

export interface DrainDeps {
  readonly poolId: string
  readonly tenantId: string
  readonly store: PoolStore
  /** Drains in a row that have failed. */
  readonly failures: number
  project(projections: readonly RunProjection[]): Promise<void>
  /** Runs the deletions as one transaction. */
  transaction(work: () => void): void
}

/** @returns whether everything is confirmed @throws what `project` throws; what was confirmed stays so */
export async function drainOutbox(deps: DrainDeps): Promise<boolean> {
  const limit = batchEntries(deps.failures)
  for (let i = 0; i < BATCHES_PER_DRAIN; i++) {
    const entries = deps.store.outbox.batch(limit)
    if (entries.length === 0) return true
    await deps.project(projectionsOf(deps, entries))
    deps.transaction(() => {
      for (const entry of entries) deps.store.outbox.confirm(entry)
    })
  }
  return false
}

/** A batch is stored whole or not at all, so after a failure a smaller one has a better chance. */
export function batchEntries(failures: number): number {
  return Math.max(1, Math.floor(BATCH_ENTRIES / 2 ** failures))
}

/** @param failures in a row; 0 when there is only more to do than one drain takes on @param random in [0, 1) */
export function drainRetryMs(failures: number, random: number): number {
  const ceiling = Math.min(RETRY_CAP_MS, RETRY_FIRST_MS * 2 ** Math.max(0, failures - 1))
  return Math.round(ceiling * (0.5 + random / 2))
}

/** Each entry's run as it is now, with the entries as its events. */
export function projectionsOf(
  deps: Pick<DrainDeps, 'poolId' | 'tenantId' | 'store'>,
  entries: readonly OutboxEntry[],
): RunProjection[] {
  const byRun = Map.groupBy(entries, entry => entry.runId)
  return [...byRun].flatMap(([runId, events]) => {
    const run = deps.store.runs.get(runId)
    if (run === null) return []
    return {
      tenantId: deps.tenantId,
      version: run.version,
      run: toRun(deps.poolId, run),
      events: events.map(entry => ({ seq: entry.seq, event: toEvent(entry) })),
    }
  })
}

function toEvent(entry: OutboxEntry): RunEvent {
  return {
    at: timestamp(entry.at),
    type: entry.type,
    ...(entry.sessionId === null ? {} : { session_id: entry.sessionId }),
    ...(entry.runnerId === null ? {} : { runner_id: entry.runnerId }),
    detail: entry.detail,
  }
}
