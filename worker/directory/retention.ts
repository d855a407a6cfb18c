import { and, eq, inArray, lt, sql } from 'drizzle-orm'
import { runEvents, runs } from '../../durable-objects/runner-pool/history.ts'
import { TERMINAL_STATUSES } from '../../protocol/run.ts'
import type { Directory } from './database.ts'
import { ANNOUNCED } from './run-history.ts'
import { auditEvents, liveLinks, streamAdmissions } from './schema.ts'

/** Deletions of what has been kept long enough, across tenants. Each call deletes at most `limit` of its things. */

/** @param before ids sort by the time they were made; only ended runs go @returns how many runs went */
export async function deleteRunsBefore(directory: Directory, before: string, limit: number): Promise<number> {
  const old = directory
    .select({ id: runs.id })
    .from(runs)
    .where(and(lt(runs.id, before), inArray(runs.status, [...TERMINAL_STATUSES])))
    .orderBy(runs.id)
    .limit(limit)
  const [, deleted] = await directory.batch([
    directory.delete(runEvents).where(inArray(runEvents.runId, old)),
    directory.delete(runs).where(inArray(runs.id, old)).returning({ id: runs.id }),
  ])
  return deleted.length
}

/** Runs that were announced and of which no snapshot has come since. @returns how many went */
export async function deleteAnnouncedRunsBefore(
  directory: Directory,
  before: string,
  limit: number,
): Promise<number> {
  const old = directory
    .select({ id: runs.id })
    .from(runs)
    .where(and(lt(runs.id, before), eq(runs.version, ANNOUNCED)))
    .orderBy(runs.id)
    .limit(limit)
  const deleted = await directory.delete(runs).where(inArray(runs.id, old)).returning({ id: runs.id })
  return deleted.length
}

export async function deleteAuditEventsBefore(
  directory: Directory,
  before: string,
  limit: number,
): Promise<number> {
  const old = directory
    .select({ id: auditEvents.id })
    .from(auditEvents)
    .where(lt(auditEvents.id, before))
    .orderBy(auditEvents.id)
    .limit(limit)
  const deleted = await directory
    .delete(auditEvents)
    .where(inArray(auditEvents.id, old))
    .returning({ id: auditEvents.id })
  return deleted.length
}

/** @param before when they expired, in epoch milliseconds */
export async function deleteLinksBefore(
  directory: Directory,
  before: number,
  limit: number,
): Promise<number> {
  const old = directory
    .select({ id: liveLinks.id })
    .from(liveLinks)
    .where(lt(liveLinks.expiresAt, before))
    .limit(limit)
  const deleted = await directory
    .delete(liveLinks)
    .where(inArray(liveLinks.id, old))
    .returning({ id: liveLinks.id })
  return deleted.length
}

/** @param before when they were last noted, in epoch milliseconds */
export async function deleteAdmissionsBefore(
  directory: Directory,
  before: number,
  limit: number,
): Promise<number> {
  const { tenantId, source, sessionId } = streamAdmissions
  const old = directory
    .select({ tenantId, source, sessionId })
    .from(streamAdmissions)
    .where(lt(streamAdmissions.at, before))
    .limit(limit)
  const deleted = await directory
    .delete(streamAdmissions)
    .where(sql`(${tenantId}, ${source}, ${sessionId}) IN ${old}`)
    .returning({ sessionId })
  return deleted.length
}
