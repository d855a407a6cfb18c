import { and, asc, desc, eq, gt, lt, sql } from 'drizzle-orm'
import { runEvents, runs } from '../../durable-objects/runner-pool/history.ts'
import { Run, RunEvent, type RunStatus } from '../../protocol/run.ts'
import type { PageRequest } from '../http/paging.ts'
import type { Directory } from './database.ts'

/**
 * Reads of what the pool objects project into D1. It may lag; only a terminal run in it is final.
 *
 * A row of version 0 is an announcement: it says which pool a run is being sent to, before the pool's object is asked
 * to take it. Only the object knows whether it did, so no list shows such a row; every snapshot replaces it.
 */
export const ANNOUNCED = 0

/** A run is as large as the body that made it; of the largest, a page holds fifteen and not 200. */
const PAGE_BYTES = 4 * 1024 * 1024

export interface RunFilter {
  readonly environmentId?: string | undefined
  readonly poolId?: string | undefined
  readonly status?: RunStatus | undefined
}

export async function announceRun(
  directory: Directory,
  tenantId: string,
  run: { readonly id: string; readonly poolId: string; readonly environmentId: string },
): Promise<void> {
  await directory
    .insert(runs)
    .values({ ...run, tenantId, status: 'queued', version: ANNOUNCED, document: '{}' })
    .onConflictDoNothing()
}

/** For a run that is sent to another pool than it was announced for. */
export async function announceElsewhere(
  directory: Directory,
  tenantId: string,
  runId: string,
  poolId: string,
): Promise<void> {
  await directory
    .update(runs)
    .set({ poolId })
    .where(and(eq(runs.tenantId, tenantId), eq(runs.id, runId), eq(runs.version, ANNOUNCED)))
}

/** Which pool's object to ask for a run, and the run itself where D1 has it. */
export async function findRunPlace(
  directory: Directory,
  tenantId: string,
  runId: string,
): Promise<{ poolId: string; run: Run | null } | null> {
  const [row] = await directory
    .select({ poolId: runs.poolId, version: runs.version, document: runs.document })
    .from(runs)
    .where(and(eq(runs.tenantId, tenantId), eq(runs.id, runId)))
    .limit(1)
  if (row === undefined) return null
  return { poolId: row.poolId, run: row.version === ANNOUNCED ? null : runOf(row.document) }
}

/** Without a tenant: the run's id is all that a ticket or a link comes with, and neither says more than they do. */
export async function findPoolOfRun(directory: Directory, runId: string): Promise<string | null> {
  const [row] = await directory.select({ poolId: runs.poolId }).from(runs).where(eq(runs.id, runId)).limit(1)
  return row?.poolId ?? null
}

export async function findRun(directory: Directory, tenantId: string, runId: string): Promise<Run | null> {
  return (await findRunPlace(directory, tenantId, runId))?.run ?? null
}

/** Newest first. @returns what fits a page, and whether there is more */
export async function listRuns(
  directory: Directory,
  tenantId: string,
  filter: RunFilter,
  page: PageRequest,
): Promise<{ shown: Run[]; isMore: boolean }> {
  const newest = directory
    .select({ id: runs.id, document: runs.document })
    .from(runs)
    .where(
      and(
        eq(runs.tenantId, tenantId),
        gt(runs.version, ANNOUNCED),
        filter.environmentId === undefined ? undefined : eq(runs.environmentId, filter.environmentId),
        filter.poolId === undefined ? undefined : eq(runs.poolId, filter.poolId),
        filter.status === undefined ? undefined : eq(runs.status, filter.status),
        page.after === null ? undefined : lt(runs.id, page.after),
      ),
    )
    .orderBy(desc(runs.id))
    .limit(page.limit + 1)
    .as('newest')
  const size = sql`length(CAST(${newest.document} AS BLOB))`
  const pageSize = sql`sum(${size}) OVER (ORDER BY ${newest.id} DESC)`
  // What no longer fits is left out where it lies, and tells only that it is there.
  const fitting = sql<string | null>`CASE WHEN ${pageSize} <= ${PAGE_BYTES} THEN ${newest.document} END`
  const rows = await directory.select({ document: fitting }).from(newest).orderBy(desc(newest.id))
  const shown = rows
    .slice(0, page.limit)
    .flatMap(({ document }) => (document === null ? [] : runOf(document)))
  return { shown, isMore: rows.length > shown.length }
}

/** Oldest first. */
export async function listRunEvents(
  directory: Directory,
  tenantId: string,
  runId: string,
  page: PageRequest,
): Promise<{ seq: number; event: RunEvent }[]> {
  const rows = await directory
    .select({ seq: runEvents.seq, document: runEvents.document })
    .from(runEvents)
    .where(
      and(
        eq(runEvents.tenantId, tenantId),
        eq(runEvents.runId, runId),
        page.after === null ? undefined : gt(runEvents.seq, Number(page.after)),
      ),
    )
    .orderBy(asc(runEvents.seq))
    .limit(page.limit + 1)
  return rows.map(row => ({ seq: row.seq, event: RunEvent.parse(JSON.parse(row.document)) }))
}

/** The last session of the run that ran, as far as its events have come. */
export async function findStartedSession(
  directory: Directory,
  tenantId: string,
  runId: string,
): Promise<string | null> {
  const [row] = await directory
    .select({ document: runEvents.document })
    .from(runEvents)
    .where(
      and(
        eq(runEvents.tenantId, tenantId),
        eq(runEvents.runId, runId),
        sql`json_extract(${runEvents.document}, '$.type') = 'running'`,
      ),
    )
    .orderBy(desc(runEvents.seq))
    .limit(1)
  return row === undefined ? null : (RunEvent.parse(JSON.parse(row.document)).session_id ?? null)
}

function runOf(document: string): Run {
  return Run.parse(JSON.parse(document))
}
