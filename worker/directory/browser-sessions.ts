import { and, eq, inArray, lt } from 'drizzle-orm'
import type { ApiKey, Member, Tenant } from '../../protocol/admin-api.ts'
import { apiKeyOf } from './api-keys.ts'
import type { Directory } from './database.ts'
import { memberOf } from './members.ts'
import { apiKeys, browserSessions, members, tenants } from './schema.ts'
import { tenantOf } from './tenants.ts'

export interface FoundSession {
  readonly expiresAt: number
  readonly tenant: Tenant
  readonly holderId: string
  /** What it stands on; null for a member who was removed. */
  readonly holder: { readonly key: ApiKey } | { readonly member: Member } | null
}

/** @param replaces hash of the session that the same browser had until now */
export async function insertSession(
  directory: Directory,
  session: typeof browserSessions.$inferInsert,
  replaces: string | null,
): Promise<void> {
  const insert = directory.insert(browserSessions).values(session)
  if (replaces === null) await insert
  else
    await directory.batch([
      insert,
      directory.delete(browserSessions).where(eq(browserSessions.hash, replaces)),
    ])
}

/** Without a tenant: the hash is what tells whose session it is. Those that are over included. */
export async function findSession(directory: Directory, hash: string): Promise<FoundSession | null> {
  const [row] = await directory
    .select({ session: browserSessions, tenant: tenants, key: apiKeys, member: members })
    .from(browserSessions)
    .innerJoin(tenants, eq(tenants.id, browserSessions.tenantId))
    .leftJoin(apiKeys, and(eq(apiKeys.id, browserSessions.holderId), eq(apiKeys.tenantId, tenants.id)))
    .leftJoin(members, and(eq(members.id, browserSessions.holderId), eq(members.tenantId, tenants.id)))
    .where(eq(browserSessions.hash, hash))
    .limit(1)
  if (row === undefined) return null
  const { session, tenant } = row
  return {
    expiresAt: session.expiresAt,
    tenant: tenantOf(tenant),
    holderId: session.holderId,
    holder: holderOf(row),
  }
}

function holderOf(row: {
  key: typeof apiKeys.$inferSelect | null
  member: typeof members.$inferSelect | null
}): FoundSession['holder'] {
  if (row.key !== null) return { key: apiKeyOf(row.key) }
  return row.member === null ? null : { member: memberOf(row.member) }
}

/** @returns whose session it was, or null when there was none */
export async function deleteSession(
  directory: Directory,
  hash: string,
): Promise<{ tenantId: string; holderId: string } | null> {
  const [row] = await directory
    .delete(browserSessions)
    .where(eq(browserSessions.hash, hash))
    .returning({ tenantId: browserSessions.tenantId, holderId: browserSessions.holderId })
  return row ?? null
}

/** Across tenants; at most `limit`. @returns how many went */
export async function deleteSessionsBefore(
  directory: Directory,
  before: number,
  limit: number,
): Promise<number> {
  const old = directory
    .select({ hash: browserSessions.hash })
    .from(browserSessions)
    .where(lt(browserSessions.expiresAt, before))
    .orderBy(browserSessions.expiresAt)
    .limit(limit)
  const deleted = await directory
    .delete(browserSessions)
    .where(inArray(browserSessions.hash, old))
    .returning({ hash: browserSessions.hash })
  return deleted.length
}
