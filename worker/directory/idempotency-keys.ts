import { and, eq, gt, lte } from 'drizzle-orm'
import type { Directory } from './database.ts'
import { idempotencyKeys } from './schema.ts'

/** Long enough for any CI job's retries; after it the key is as new. */
export const IDEMPOTENCY_KEPT_MS = 24 * 60 * 60 * 1000

/** What a key stands for: the run it made, the pool that has it, and the body it was used with. */
export interface IdempotencyClaim {
  readonly bodyHash: string
  readonly runId: string
  readonly poolId: string
}

const CLAIM = {
  bodyHash: idempotencyKeys.bodyHash,
  runId: idempotencyKeys.runId,
  poolId: idempotencyKeys.poolId,
}

function current(tenantId: string, key: string, now: number) {
  return and(
    eq(idempotencyKeys.tenantId, tenantId),
    eq(idempotencyKeys.key, key),
    gt(idempotencyKeys.createdAt, now - IDEMPOTENCY_KEPT_MS),
  )
}

export async function findClaim(
  directory: Directory,
  tenantId: string,
  key: string,
  now: number,
): Promise<IdempotencyClaim | null> {
  const [row] = await directory
    .select(CLAIM)
    .from(idempotencyKeys)
    .where(current(tenantId, key, now))
    .limit(1)
  return row ?? null
}

/**
 * Insert-or-read in one transaction: of all who race with one key, every one gets the same claim back. What has
 * outlived its day is deleted first, which is also what keeps the table small.
 */
export async function claimKey(
  directory: Directory,
  tenantId: string,
  key: string,
  claim: IdempotencyClaim,
  now: number,
): Promise<IdempotencyClaim> {
  const [, , rows] = await directory.batch([
    directory
      .delete(idempotencyKeys)
      .where(
        and(
          eq(idempotencyKeys.tenantId, tenantId),
          lte(idempotencyKeys.createdAt, now - IDEMPOTENCY_KEPT_MS),
        ),
      ),
    directory
      .insert(idempotencyKeys)
      .values({ tenantId, key, createdAt: now, ...claim })
      .onConflictDoNothing(),
    directory
      .select(CLAIM)
      .from(idempotencyKeys)
      .where(and(eq(idempotencyKeys.tenantId, tenantId), eq(idempotencyKeys.key, key)))
      .limit(1),
  ])
  return rows[0] ?? claim
}

/**
 * Points a claim at another pool, unless somebody else was faster.
 * @returns the claim as it is now: of all who race, every one gets the same
 */
export async function moveClaim(
  directory: Directory,
  tenantId: string,
  key: string,
  claim: IdempotencyClaim,
  poolId: string,
): Promise<IdempotencyClaim> {
  const mine = and(
    eq(idempotencyKeys.tenantId, tenantId),
    eq(idempotencyKeys.key, key),
    eq(idempotencyKeys.runId, claim.runId),
  )
  const [, rows] = await directory.batch([
    directory
      .update(idempotencyKeys)
      .set({ poolId })
      .where(and(mine, eq(idempotencyKeys.poolId, claim.poolId))),
    directory.select(CLAIM).from(idempotencyKeys).where(mine).limit(1),
  ])
  return rows[0] ?? claim
}
