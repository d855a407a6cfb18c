import { and, desc, eq, isNull, lt } from 'drizzle-orm'
import type { ApiKey, Role, Tenant } from '../../protocol/admin-api.ts'
import { timestamp, timestampOrNull } from '../../protocol/text.ts'
import type { PageRequest } from '../http/paging.ts'
import type { Directory } from './database.ts'
import { apiKeys, tenants } from './schema.ts'
import { tenantOf } from './tenants.ts'

export interface NewApiKey {
  readonly id: string
  readonly name: string
  readonly role: Role
  readonly hash: string
  readonly hint: string
  readonly expiresAt: number | null
}

type Row = typeof apiKeys.$inferSelect

export function apiKeyOf(row: Row): ApiKey {
  return {
    id: row.id,
    name: row.name,
    role: row.role,
    hint: row.hint,
    created_at: timestamp(row.createdAt),
    expires_at: timestampOrNull(row.expiresAt),
    last_used_at: timestampOrNull(row.lastUsedAt),
    revoked_at: timestampOrNull(row.revokedAt),
  }
}

export async function insertKey(
  directory: Directory,
  tenantId: string,
  key: NewApiKey,
  now: number,
): Promise<void> {
  await directory.insert(apiKeys).values({ ...key, tenantId, createdAt: now })
}

/** The one look-up without a tenant: the hash is what tells whose key it is. Revoked and expired ones included. */
export async function findKeyByHash(
  directory: Directory,
  hash: string,
): Promise<{ tenant: Tenant; key: ApiKey } | null> {
  const [row] = await directory
    .select({ tenant: tenants, key: apiKeys })
    .from(apiKeys)
    .innerJoin(tenants, eq(tenants.id, apiKeys.tenantId))
    .where(eq(apiKeys.hash, hash))
    .limit(1)
  return row === undefined ? null : { tenant: tenantOf(row.tenant), key: apiKeyOf(row.key) }
}

export async function listKeys(directory: Directory, tenantId: string, page: PageRequest): Promise<ApiKey[]> {
  const rows = await directory
    .select()
    .from(apiKeys)
    .where(and(eq(apiKeys.tenantId, tenantId), page.after === null ? undefined : lt(apiKeys.id, page.after)))
    .orderBy(desc(apiKeys.id))
    .limit(page.limit + 1)
  return rows.map(apiKeyOf)
}

/** @returns whether the tenant has such a key; revoking it twice keeps the first time */
export async function revokeKey(
  directory: Directory,
  tenantId: string,
  keyId: string,
  now: number,
): Promise<boolean> {
  const mine = and(eq(apiKeys.tenantId, tenantId), eq(apiKeys.id, keyId))
  const [, rows] = await directory.batch([
    directory
      .update(apiKeys)
      .set({ revokedAt: now })
      .where(and(mine, isNull(apiKeys.revokedAt))),
    directory.select({ id: apiKeys.id }).from(apiKeys).where(mine).limit(1),
  ])
  return rows.length === 1
}

export async function noteKeyUse(
  directory: Directory,
  tenantId: string,
  keyId: string,
  now: number,
): Promise<void> {
  await directory
    .update(apiKeys)
    .set({ lastUsedAt: now })
    .where(and(eq(apiKeys.tenantId, tenantId), eq(apiKeys.id, keyId)))
}
