import { and, eq, gt, lt } from 'drizzle-orm'
import type { Directory } from './database.ts'
import { streamAdmissions } from './schema.ts'

/** Whom a key, a member or a link has let watch: revoking it has to reach every relay it ever opened. */

/** A session lives no longer than its longest timeout and what surrounds it. */
export const ADMISSION_RETENTION_MS = 3 * 86_400_000

/** So much less than that is not worth another write for who comes again and again. */
const NOTE_EVERY_MS = 43_200_000

export async function noteAdmission(
  directory: Directory,
  tenantId: string,
  source: string,
  sessionId: string,
  now: number,
): Promise<void> {
  await directory
    .insert(streamAdmissions)
    .values({ tenantId, source, sessionId, at: now })
    .onConflictDoUpdate({
      target: [streamAdmissions.tenantId, streamAdmissions.source, streamAdmissions.sessionId],
      set: { at: now },
      setWhere: lt(streamAdmissions.at, now - NOTE_EVERY_MS),
    })
}

export async function sessionsAdmittedBy(
  directory: Directory,
  tenantId: string,
  source: string,
  now: number,
): Promise<string[]> {
  const rows = await directory
    .select({ sessionId: streamAdmissions.sessionId })
    .from(streamAdmissions)
    .where(
      and(
        eq(streamAdmissions.tenantId, tenantId),
        eq(streamAdmissions.source, source),
        gt(streamAdmissions.at, now - ADMISSION_RETENTION_MS),
      ),
    )
  return rows.map(row => row.sessionId)
}
