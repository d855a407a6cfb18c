import { and, desc, eq, lt } from 'drizzle-orm'
import type { Environment } from '../../protocol/admin-api.ts'
import { timestamp } from '../../protocol/text.ts'
import type { PageRequest } from '../http/paging.ts'
import type { Directory } from './database.ts'
import { environments } from './schema.ts'

type Row = typeof environments.$inferSelect
export type EnvironmentFields = Pick<Environment, 'name' | 'execution_target' | 'pool_id' | 'default_image'>

function environmentOf(row: Row): Environment {
  return {
    id: row.id,
    name: row.name,
    execution_target: row.executionTarget,
    pool_id: row.poolId,
    default_image: row.defaultImage,
    created_at: timestamp(row.createdAt),
  }
}

function columnsOf(fields: EnvironmentFields) {
  return {
    name: fields.name,
    executionTarget: fields.execution_target,
    poolId: fields.pool_id,
    defaultImage: fields.default_image,
  }
}

function mine(tenantId: string, environmentId: string) {
  return and(eq(environments.tenantId, tenantId), eq(environments.id, environmentId))
}

export async function insertEnvironment(
  directory: Directory,
  tenantId: string,
  id: string,
  fields: EnvironmentFields,
  now: number,
): Promise<Environment> {
  const row = { id, tenantId, createdAt: now, ...columnsOf(fields) }
  await directory.insert(environments).values(row)
  return environmentOf(row)
}

export async function findEnvironment(
  directory: Directory,
  tenantId: string,
  environmentId: string,
): Promise<Environment | null> {
  const [row] = await directory.select().from(environments).where(mine(tenantId, environmentId)).limit(1)
  return row === undefined ? null : environmentOf(row)
}

export async function listEnvironments(
  directory: Directory,
  tenantId: string,
  page: PageRequest,
): Promise<Environment[]> {
  const rows = await directory
    .select()
    .from(environments)
    .where(
      and(
        eq(environments.tenantId, tenantId),
        page.after === null ? undefined : lt(environments.id, page.after),
      ),
    )
    .orderBy(desc(environments.id))
    .limit(page.limit + 1)
  return rows.map(environmentOf)
}

export async function updateEnvironment(
  directory: Directory,
  tenantId: string,
  environmentId: string,
  fields: EnvironmentFields,
): Promise<Environment | null> {
  const [row] = await directory
    .update(environments)
    .set(columnsOf(fields))
    .where(mine(tenantId, environmentId))
    .returning()
  return row === undefined ? null : environmentOf(row)
}

/** @returns whether there was one */
export async function deleteEnvironment(
  directory: Directory,
  tenantId: string,
  environmentId: string,
): Promise<boolean> {
  const rows = await directory
    .delete(environments)
    .where(mine(tenantId, environmentId))
    .returning({ id: environments.id })
  return rows.length === 1
}
