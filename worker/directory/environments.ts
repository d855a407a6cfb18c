import { and, desc, eq, lt, type SQL, sql } from 'drizzle-orm'
import type { Environment, ExecutionTarget } from '../../protocol/admin-api.ts'
import { timestamp } from '../../protocol/text.ts'
import type { PageRequest } from '../http/paging.ts'
import type { Directory } from './database.ts'
import { isAsked, type NamedFilter } from './named.ts'
import { environments, pools } from './schema.ts'

/**
 * An environment never points at a pool that is gone: its pool's row is looked for in the statement that stores the
 * reference, and `pools.ts` deletes a pool's row only in a statement that finds no reference.
 */

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

/** What is absent stays as it is. */
export type EnvironmentChange = {
  readonly [Field in keyof EnvironmentFields]?: EnvironmentFields[Field] | undefined
}

function columnsOf(change: EnvironmentChange) {
  return {
    name: change.name,
    executionTarget: change.execution_target,
    poolId: change.pool_id,
    defaultImage: change.default_image,
  }
}

function poolIsThere(tenantId: string, poolId: SQL): SQL {
  return sql`(${poolId} IS NULL OR EXISTS (SELECT 1 FROM ${pools} WHERE ${pools.tenantId} = ${tenantId} AND ${pools.id} = ${poolId}))`
}

function mine(tenantId: string, environmentId: string) {
  return and(eq(environments.tenantId, tenantId), eq(environments.id, environmentId))
}

/** @returns null when the tenant has no such pool */
export async function insertEnvironment(
  directory: Directory,
  tenantId: string,
  id: string,
  fields: EnvironmentFields,
  now: number,
): Promise<Environment | null> {
  const { name, execution_target, pool_id, default_image } = fields
  const [row] = await directory
    .insert(environments)
    .select(
      sql`SELECT ${id}, ${tenantId}, ${name}, ${execution_target}, ${pool_id}, ${default_image}, ${now} WHERE ${poolIsThere(tenantId, sql`${pool_id}`)}`,
    )
    .returning()
  return row === undefined ? null : environmentOf(row)
}

export async function findEnvironment(
  directory: Directory,
  tenantId: string,
  environmentId: string,
): Promise<Environment | null> {
  const [row] = await directory.select().from(environments).where(mine(tenantId, environmentId)).limit(1)
  return row === undefined ? null : environmentOf(row)
}

export interface EnvironmentFilter extends NamedFilter {
  readonly executionTarget?: ExecutionTarget | undefined
}

export async function listEnvironments(
  directory: Directory,
  tenantId: string,
  page: PageRequest,
  filter: EnvironmentFilter = {},
): Promise<Environment[]> {
  const rows = await directory
    .select()
    .from(environments)
    .where(
      and(
        eq(environments.tenantId, tenantId),
        page.after === null ? undefined : lt(environments.id, page.after),
        isAsked(environments, filter),
        filter.executionTarget === undefined
          ? undefined
          : eq(environments.executionTarget, filter.executionTarget),
      ),
    )
    .orderBy(desc(environments.id))
    .limit(page.limit + 1)
  return rows.map(environmentOf)
}

/**
 * Writes only what changes, so that two changes of different fields both stay, and only where the whole is then
 * valid: self-hosted with a pool, and a pool that is there.
 * @returns null when there is no such environment or it would not be valid
 */
export async function updateEnvironment(
  directory: Directory,
  tenantId: string,
  environmentId: string,
  change: EnvironmentChange,
): Promise<Environment | null> {
  if (Object.values(change).every(value => value === undefined)) {
    return await findEnvironment(directory, tenantId, environmentId)
  }
  const target =
    change.execution_target === undefined
      ? sql`${environments.executionTarget}`
      : sql`${change.execution_target}`
  const poolId = change.pool_id === undefined ? sql`${environments.poolId}` : sql`${change.pool_id}`
  const [row] = await directory
    .update(environments)
    .set(columnsOf(change))
    .where(
      and(
        mine(tenantId, environmentId),
        sql`(${target} <> 'self_hosted' OR ${poolId} IS NOT NULL)`,
        poolIsThere(tenantId, poolId),
      ),
    )
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
