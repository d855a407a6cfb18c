import { and, desc, eq, lt, sql } from 'drizzle-orm'
import type { AuditEvent } from '../../protocol/admin-api.ts'
import { timestamp } from '../../protocol/text.ts'
import type { PageRequest } from '../http/paging.ts'
import type { Directory } from './database.ts'
import { auditEvents, pools } from './schema.ts'

/**
 * Who did what to what, from where. Entries hold ids, names and codes: never a body, a header or any part of a
 * secret.
 */
export interface AuditEntry {
  readonly id: string
  /** `ofPool`: a runner's call knows its pool, and only D1 knows whose pool that is. */
  readonly tenant: { readonly id: string } | { readonly ofPool: string } | 'unknown'
  readonly at: number
  readonly actor: string
  readonly action: string
  readonly target: string
  readonly address: string
  readonly detail: string
}

type Row = typeof auditEvents.$inferSelect

/** Paths and names come from outside; an entry stays one line of bounded length. */
const TEXT_LIMIT_CHARS = 300

function auditEventOf(row: Row): AuditEvent {
  return {
    id: row.id,
    at: timestamp(row.at),
    actor: row.actor,
    action: row.action,
    target: row.target,
    address: row.address,
    detail: row.detail,
  }
}

/** Safe to repeat: an entry is written once, whatever became of the reply. */
export async function insertAuditEvents(directory: Directory, entries: readonly AuditEntry[]): Promise<void> {
  const [first, ...rest] = entries.map(entry =>
    directory
      .insert(auditEvents)
      .values({
        id: entry.id,
        at: entry.at,
        actor: entry.actor,
        action: entry.action,
        target: entry.target.slice(0, TEXT_LIMIT_CHARS),
        address: entry.address.slice(0, TEXT_LIMIT_CHARS),
        detail: entry.detail.slice(0, TEXT_LIMIT_CHARS),
        tenantId: tenantColumn(entry.tenant),
      })
      .onConflictDoNothing(),
  )
  if (first !== undefined) await directory.batch([first, ...rest])
}

function tenantColumn(tenant: AuditEntry['tenant']) {
  if (tenant === 'unknown') return null
  if ('id' in tenant) return tenant.id
  return sql`(SELECT ${pools.tenantId} FROM ${pools} WHERE ${pools.id} = ${tenant.ofPool})`
}

export async function listAuditEvents(
  directory: Directory,
  tenantId: string,
  page: PageRequest,
): Promise<AuditEvent[]> {
  const rows = await directory
    .select()
    .from(auditEvents)
    .where(
      and(
        eq(auditEvents.tenantId, tenantId),
        page.after === null ? undefined : lt(auditEvents.id, page.after),
      ),
    )
    .orderBy(desc(auditEvents.id))
    .limit(page.limit + 1)
  return rows.map(auditEventOf)
}
