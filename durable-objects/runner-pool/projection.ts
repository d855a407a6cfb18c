import { sql } from 'drizzle-orm'
import { type DrizzleD1Database, drizzle } from 'drizzle-orm/d1'
import { runEvents, runs } from './history.ts'
import type { RunProjection } from './outbox-drain.ts'

/**
 * Writes snapshots and events in one D1 transaction. Repeating it, or doing it out of order, changes nothing:
 * a snapshot only replaces a lower version, and an event is written once.
 *
 * @throws whatever D1 throws; nothing of the batch is then stored
 */
export async function projectRuns(
  database: D1Database,
  projections: readonly RunProjection[],
): Promise<void> {
  const db = drizzle(database)
  const [first, ...rest] = projections.flatMap(projection => statements(db, projection))
  if (first === undefined) return
  await db.batch([first, ...rest])
}

function statements(db: DrizzleD1Database, { tenantId, version, run, events }: RunProjection) {
  const row = {
    tenantId,
    poolId: run.pool_id,
    environmentId: run.environment_id,
    status: run.status,
    version,
    finishedAt: run.finished_at === null ? null : Date.parse(run.finished_at),
    document: JSON.stringify(run),
  }
  return [
    db
      .insert(runs)
      .values({ id: run.id, ...row })
      .onConflictDoUpdate({ target: runs.id, set: row, setWhere: sql`excluded.version > ${runs.version}` }),
    ...events.map(({ seq, event }) =>
      db
        .insert(runEvents)
        .values({ runId: run.id, seq, tenantId, document: JSON.stringify(event) })
        .onConflictDoNothing(),
    ),
  ]
}
