import { eq, inArray, lt } from 'drizzle-orm'
import type { ApiKey, Tenant } from '../../protocol/admin-api.ts'
import { apiKeyOf } from './api-keys.ts'
import type { Directory } from './database.ts'
import { apiKeys, browserSessions, tenants } from './schema.ts'
import { tenantOf } from './tenants.ts'

export interface FoundSession {
  readonly expiresAt: number
  readonly tenant: Tenant
  readonly key: ApiKey
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

/** Without a tenant: the hash is what tells whose session it is. Expired ones and those of revoked keys included. */
export async function findSession(directory: Directory, hash: string): Promise<FoundSession | null> {
  const [row] = await directory
    .select({ expiresAt: browserSessions.expiresAt, tenant: tenants, key: apiKeys })
    .from(browserSessions)
    .innerJoin(tenants, eq(tenants.id, browserSessions.tenantId))
    .innerJoin(apiKeys, eq(apiKeys.id, browserSessions.holderId))
    .where(eq(browserSessions.hash, hash))
    .limit(1)
  if (row === undefined) return null
  return { expiresAt: row.expiresAt, tenant: tenantOf(row.tenant), key: apiKeyOf(row.key) }
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
