import { and, desc, eq, inArray, lt, notExists, sql } from 'drizzle-orm'
import type { PageRequest } from '../http/paging.ts'
import type { Directory } from './database.ts'
import { isAsked, type NamedFilter } from './named.ts'
import { environments, pools, registrationTokens, registrationTokenUses } from './schema.ts'

/** What D1 knows of a pool; the rest is its object's. */
export interface PoolRecord {
  readonly id: string
  readonly name: string
  readonly description: string
  readonly createdAt: number
}

const RECORD = {
  id: pools.id,
  name: pools.name,
  description: pools.description,
  createdAt: pools.createdAt,
}

function mine(tenantId: string, poolId: string) {
  return and(eq(pools.tenantId, tenantId), eq(pools.id, poolId))
}

export async function insertPool(directory: Directory, tenantId: string, pool: PoolRecord): Promise<void> {
  await directory.insert(pools).values({ ...pool, tenantId })
}

export async function findPool(
  directory: Directory,
  tenantId: string,
  poolId: string,
): Promise<PoolRecord | null> {
  const [row] = await directory.select(RECORD).from(pools).where(mine(tenantId, poolId)).limit(1)
  return row ?? null
}

/** For registration, where nothing but the request's own word says whose pool it is. */
export async function poolExists(directory: Directory, poolId: string): Promise<boolean> {
  const rows = await directory.select({ id: pools.id }).from(pools).where(eq(pools.id, poolId)).limit(1)
  return rows.length === 1
}

export async function listPools(
  directory: Directory,
  tenantId: string,
  page: PageRequest,
  filter: NamedFilter = {},
): Promise<PoolRecord[]> {
  return await directory
    .select(RECORD)
    .from(pools)
    .where(
      and(
        eq(pools.tenantId, tenantId),
        page.after === null ? undefined : lt(pools.id, page.after),
        isAsked(pools, filter),
      ),
    )
    .orderBy(desc(pools.id))
    .limit(page.limit + 1)
}

export async function updatePool(
  directory: Directory,
  tenantId: string,
  poolId: string,
  change: { readonly name?: string | undefined; readonly description?: string | undefined },
): Promise<PoolRecord | null> {
  if (change.name === undefined && change.description === undefined) {
    return await findPool(directory, tenantId, poolId)
  }
  const [row] = await directory
    .update(pools)
    .set({ name: change.name, description: change.description })
    .where(mine(tenantId, poolId))
    .returning(RECORD)
  return row ?? null
}

/** The name of an environment that still sends its runs to the pool. */
export async function environmentUsing(
  directory: Directory,
  tenantId: string,
  poolId: string,
): Promise<string | null> {
  const [row] = await directory
    .select({ name: environments.name })
    .from(environments)
    .where(and(eq(environments.tenantId, tenantId), eq(environments.poolId, poolId)))
    .limit(1)
  return row?.name ?? null
}

/**
 * Deletes the pool's row alone, unless an environment points at it; `environments.ts` says why in one statement.
 * @returns whether the row is gone
 */
export async function deletePoolRow(
  directory: Directory,
  tenantId: string,
  poolId: string,
): Promise<boolean> {
  const users = directory
    .select({ one: sql`1` })
    .from(environments)
    .where(and(eq(environments.tenantId, tenantId), eq(environments.poolId, poolId)))
  const [, rows] = await directory.batch([
    directory.delete(pools).where(and(mine(tenantId, poolId), notExists(users))),
    directory.select({ id: pools.id }).from(pools).where(mine(tenantId, poolId)),
  ])
  return rows.length === 0
}

/** Puts back a row whose pool turned out to be in use. */
export async function restorePoolRow(
  directory: Directory,
  tenantId: string,
  pool: PoolRecord,
): Promise<void> {
  await directory
    .insert(pools)
    .values({ ...pool, tenantId })
    .onConflictDoNothing()
}

/** What let runners into a pool that is gone. */
export async function deletePoolTokens(
  directory: Directory,
  tenantId: string,
  poolId: string,
): Promise<void> {
  const tokens = and(eq(registrationTokens.tenantId, tenantId), eq(registrationTokens.poolId, poolId))
  const tokenIds = directory.select({ id: registrationTokens.id }).from(registrationTokens).where(tokens)
  await directory.batch([
    directory.delete(registrationTokenUses).where(inArray(registrationTokenUses.tokenId, tokenIds)),
    directory.delete(registrationTokens).where(tokens),
  ])
}
