import { and, desc, eq, gte, type SQL, sql } from 'drizzle-orm'
import { runs } from '../../durable-objects/runner-pool/history.ts'
import { TERMINAL_STATUSES, type TerminalStatus } from '../../protocol/run.ts'
import type { Directory } from './database.ts'

export interface RunOutcomes {
  readonly counts: Record<TerminalStatus, number>
  readonly latestLost: string | null
}

/** Of each outcome at most so many are counted: a look must cost no more than people get out of it. */
const COUNT_LIMIT = 100_000

/** How the runs that ended since then ended, from the index of ended runs alone. @param since epoch milliseconds */
export async function outcomesSince(
  directory: Directory,
  tenantId: string,
  since: number,
): Promise<RunOutcomes> {
  const ended = (status: TerminalStatus) =>
    and(eq(runs.tenantId, tenantId), eq(runs.status, status), gte(runs.finishedAt, since))
  const latestLost = directory
    .select({ id: runs.id })
    .from(runs)
    .where(ended('lost'))
    .orderBy(desc(runs.finishedAt))
    .limit(1)
  const counts = TERMINAL_STATUSES.map(status => {
    const some = directory.select({ one: sql`1` }).from(runs).where(ended(status)).limit(COUNT_LIMIT)
    return sql`(SELECT count(*) FROM (${some})) AS ${sql.identifier(status)}`
  })
  const columns: SQL[] = [...counts, sql`(${latestLost}) AS latest_lost`]
  const row = await directory.get<Record<TerminalStatus, number> & { latest_lost: string | null }>(
    sql`SELECT ${sql.join(columns, sql`, `)}`,
  )
  const { latest_lost, ...counted } = row
  return { counts: counted, latestLost: latest_lost }
}
