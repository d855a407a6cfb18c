import { and, desc, eq, isNull, lt } from 'drizzle-orm'
import { runs } from '../../durable-objects/runner-pool/history.ts'
import type { LiveLink } from '../../protocol/live.ts'
import { RunStatus } from '../../protocol/run.ts'
import { timestamp, timestampOrNull } from '../../protocol/text.ts'
import type { PageRequest } from '../http/paging.ts'
import type { Directory } from './database.ts'
import { liveLinks, tenants } from './schema.ts'

type Row = typeof liveLinks.$inferSelect

function linkOf(row: Row, runStatus: string | null): LiveLink {
  return {
    id: row.id,
    run_id: row.runId,
    run_status: RunStatus.nullable().parse(runStatus),
    mode: row.mode,
    hint: row.hint,
    max_viewers: row.maxViewers,
    created_by: row.createdBy,
    created_at: timestamp(row.createdAt),
    expires_at: timestamp(row.expiresAt),
    last_used_at: timestampOrNull(row.lastUsedAt),
    revoked_at: timestampOrNull(row.revokedAt),
  }
}

export async function insertLink(
  directory: Directory,
  link: Omit<Row, 'lastUsedAt' | 'revokedAt'>,
): Promise<void> {
  await directory.insert(liveLinks).values(link)
}

/** @param runId null for those of all runs */
export async function listLinks(
  directory: Directory,
  tenantId: string,
  runId: string | null,
  page: PageRequest,
): Promise<LiveLink[]> {
  const rows = await directory
    .select({ link: liveLinks, runStatus: runs.status })
    .from(liveLinks)
    .leftJoin(runs, and(eq(runs.id, liveLinks.runId), eq(runs.tenantId, tenantId)))
    .where(
      and(
        eq(liveLinks.tenantId, tenantId),
        runId === null ? undefined : eq(liveLinks.runId, runId),
        page.after === null ? undefined : lt(liveLinks.id, page.after),
      ),
    )
    .orderBy(desc(liveLinks.id))
    .limit(page.limit + 1)
  return rows.map(({ link, runStatus }) => linkOf(link, runStatus))
}

/** @returns whether the tenant has such a link; revoking it twice keeps the first time */
export async function revokeLink(
  directory: Directory,
  tenantId: string,
  linkId: string,
  now: number,
): Promise<boolean> {
  const mine = and(eq(liveLinks.tenantId, tenantId), eq(liveLinks.id, linkId))
  const [, rows] = await directory.batch([
    directory
      .update(liveLinks)
      .set({ revokedAt: now })
      .where(and(mine, isNull(liveLinks.revokedAt))),
    directory.select({ id: liveLinks.id }).from(liveLinks).where(mine).limit(1),
  ])
  return rows.length === 1
}

export interface PresentedLink
  extends Pick<Row, 'id' | 'tenantId' | 'runId' | 'mode' | 'maxViewers' | 'expiresAt'> {
  readonly revokedAt: number | null
  readonly tenantSlug: string
}

/** Without a tenant, because the hash is what tells whose link it is. */
export async function findLink(directory: Directory, hash: string): Promise<PresentedLink | null> {
  const [row] = await directory
    .select({ link: liveLinks, slug: tenants.slug })
    .from(liveLinks)
    .innerJoin(tenants, eq(tenants.id, liveLinks.tenantId))
    .where(eq(liveLinks.hash, hash))
    .limit(1)
  return row === undefined ? null : { ...row.link, tenantSlug: row.slug }
}

export async function noteLinkUse(
  directory: Directory,
  { tenantId, id }: Pick<PresentedLink, 'tenantId' | 'id'>,
  now: number,
): Promise<void> {
  await directory
    .update(liveLinks)
    .set({ lastUsedAt: now })
    .where(and(eq(liveLinks.tenantId, tenantId), eq(liveLinks.id, id)))
}
