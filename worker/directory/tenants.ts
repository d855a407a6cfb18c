import { desc, eq, lt } from 'drizzle-orm'
import type { Tenant } from '../../protocol/admin-api.ts'
import { accepted, type Result, refused } from '../../protocol/errors.ts'
import { timestamp } from '../../protocol/text.ts'
import type { PageRequest } from '../http/paging.ts'
import { type Directory, isUniqueViolation } from './database.ts'
import { apiKeys, tenants } from './schema.ts'

type Row = typeof tenants.$inferSelect

export function tenantOf(row: Row): Tenant {
  return { id: row.id, slug: row.slug, name: row.name, created_at: timestamp(row.createdAt) }
}

/** A tenant is never without a key: both rows or none. */
export async function insertTenant(
  directory: Directory,
  tenant: { id: string; slug: string; name: string },
  key: Omit<typeof apiKeys.$inferInsert, 'tenantId' | 'createdAt'>,
  now: number,
): Promise<Result<Tenant>> {
  const row = { ...tenant, createdAt: now }
  try {
    await directory.batch([
      directory.insert(tenants).values(row),
      directory.insert(apiKeys).values({ ...key, tenantId: tenant.id, createdAt: now }),
    ])
  } catch (error) {
    if (isUniqueViolation(error, 'tenants.slug')) return refused('conflict', 'Another tenant has this slug.')
    throw error
  }
  return accepted(tenantOf(row))
}

/** For the operator only: it reads across tenants. */
export async function listTenants(directory: Directory, page: PageRequest): Promise<Tenant[]> {
  const rows = await directory
    .select()
    .from(tenants)
    .where(page.after === null ? undefined : lt(tenants.id, page.after))
    .orderBy(desc(tenants.id))
    .limit(page.limit + 1)
  return rows.map(tenantOf)
}

export async function findTenant(directory: Directory, tenantId: string): Promise<Tenant | null> {
  const [row] = await directory.select().from(tenants).where(eq(tenants.id, tenantId)).limit(1)
  return row === undefined ? null : tenantOf(row)
}
