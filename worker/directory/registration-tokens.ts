import {
  and,
  desc,
  eq,
  exists,
  gt,
  inArray,
  isNull,
  lt,
  lte,
  notExists,
  or,
  type SQL,
  sql,
} from 'drizzle-orm'
import type { z } from 'zod'
import type { RegistrationToken, Tenant } from '../../protocol/admin-api.ts'
import { timestamp, timestampOrNull } from '../../protocol/text.ts'
import type { PageRequest } from '../http/paging.ts'
import type { Directory } from './database.ts'
import { registrationTokens, registrationTokenUses, tenants } from './schema.ts'
import { tenantOf } from './tenants.ts'

type Row = typeof registrationTokens.$inferSelect

export interface NewRegistrationToken {
  readonly id: string
  readonly name: string
  readonly hash: string
  readonly hint: string
  readonly createdAt: number
  readonly expiresAt: number
  readonly maxUses: number | null
}

/** A token as a list shows it, but for the online runners, which only the pool's object can count. */
export type TokenRecord = Omit<z.output<typeof RegistrationToken>, 'runners_online'>

/** A token as registration judges it. */
export interface PresentedToken {
  readonly id: string
  readonly poolId: string
  readonly tenant: Tenant
  readonly expiresAt: number
  readonly revokedAt: number | null
  readonly usedUp: boolean
}

function recordOf(row: Row): TokenRecord {
  return {
    id: row.id,
    name: row.name,
    hint: row.hint,
    created_at: timestamp(row.createdAt),
    expires_at: timestamp(row.expiresAt),
    max_uses: row.maxUses,
    uses: row.uses,
    last_used_at: timestampOrNull(row.lastUsedAt),
    revoked_at: timestampOrNull(row.revokedAt),
  }
}

export async function insertToken(
  directory: Directory,
  tenantId: string,
  poolId: string,
  token: NewRegistrationToken,
): Promise<void> {
  await directory.insert(registrationTokens).values({ ...token, tenantId, poolId, uses: 0 })
}

export async function listTokens(
  directory: Directory,
  tenantId: string,
  poolId: string,
  page: PageRequest,
): Promise<TokenRecord[]> {
  const rows = await directory
    .select()
    .from(registrationTokens)
    .where(
      and(
        eq(registrationTokens.tenantId, tenantId),
        eq(registrationTokens.poolId, poolId),
        page.after === null ? undefined : lt(registrationTokens.id, page.after),
      ),
    )
    .orderBy(desc(registrationTokens.id))
    .limit(page.limit + 1)
  return rows.map(recordOf)
}

export interface ExpiringToken {
  readonly id: string
  readonly poolId: string
  readonly name: string
  readonly expiresAt: number
}

/** More than anybody has to hear of at once. */
const EXPIRING_LIMIT = 200

/** Tokens of any pool that end within that time and were made to last longer, the first to end first. */
export async function expiringTokens(
  directory: Directory,
  tenantId: string,
  now: number,
  withinMs: number,
): Promise<ExpiringToken[]> {
  const { id, poolId, name, expiresAt, createdAt, revokedAt } = registrationTokens
  return await directory
    .select({ id, poolId, name, expiresAt })
    .from(registrationTokens)
    .where(
      and(
        eq(registrationTokens.tenantId, tenantId),
        gt(expiresAt, now),
        lte(expiresAt, now + withinMs),
        isNull(revokedAt),
        sql`${expiresAt} - ${createdAt} > ${withinMs}`,
      ),
    )
    .orderBy(expiresAt)
    .limit(EXPIRING_LIMIT)
}

/** @returns whether the pool has such a token; revoking it twice keeps the first time */
export async function revokeToken(
  directory: Directory,
  tenantId: string,
  poolId: string,
  tokenId: string,
  now: number,
): Promise<boolean> {
  const mine = and(
    eq(registrationTokens.tenantId, tenantId),
    eq(registrationTokens.poolId, poolId),
    eq(registrationTokens.id, tokenId),
  )
  const [, rows] = await directory.batch([
    directory
      .update(registrationTokens)
      .set({ revokedAt: now })
      .where(and(mine, isNull(registrationTokens.revokedAt))),
    directory.select({ id: registrationTokens.id }).from(registrationTokens).where(mine).limit(1),
  ])
  return rows.length === 1
}

/** Without a tenant, because the hash is what tells whose token it is. */
export async function findTokenByHash(directory: Directory, hash: string): Promise<PresentedToken | null> {
  const [row] = await directory
    .select({ token: registrationTokens, tenant: tenants })
    .from(registrationTokens)
    .innerJoin(tenants, eq(tenants.id, registrationTokens.tenantId))
    .where(eq(registrationTokens.hash, hash))
    .limit(1)
  if (row === undefined) return null
  const { token, tenant } = row
  return {
    id: token.id,
    poolId: token.poolId,
    tenant: tenantOf(tenant),
    expiresAt: token.expiresAt,
    revokedAt: token.revokedAt,
    usedUp: token.maxUses !== null && token.uses >= token.maxUses,
  }
}

/** The process that registers; its retries share one use. */
export interface RegisteringProcess {
  readonly tenantId: string
  readonly tokenId: string
  readonly name: string
  readonly bootId: string
}

function ofProcess(process: RegisteringProcess) {
  return and(
    eq(registrationTokenUses.tokenId, process.tokenId),
    eq(registrationTokenUses.tenantId, process.tenantId),
    eq(registrationTokenUses.runnerName, process.name),
    eq(registrationTokenUses.bootId, process.bootId),
  )
}

function openUse(process: RegisteringProcess) {
  return and(ofProcess(process), isNull(registrationTokenUses.runnerId))
}

/**
 * Counts a use and records it in one transaction, unless the process has one open from a try whose end is unknown.
 * However many race, no more than `max_uses` get one.
 * @returns the id of the use, or null when the token has none left (or died meanwhile)
 */
export async function takeUse(
  directory: Directory,
  process: RegisteringProcess,
  useId: string,
  now: number,
): Promise<string | null> {
  const { tenantId, tokenId } = process
  const token = and(eq(registrationTokens.tenantId, tenantId), eq(registrationTokens.id, tokenId))
  const usesLeft = or(
    isNull(registrationTokens.maxUses),
    lt(registrationTokens.uses, registrationTokens.maxUses),
  )
  const alive = and(isNull(registrationTokens.revokedAt), gt(registrationTokens.expiresAt, now))
  const open = directory
    .select({ id: registrationTokenUses.id })
    .from(registrationTokenUses)
    .where(openUse(process))
  const [, , found] = await directory.batch([
    directory.insert(registrationTokenUses).select(
      directory
        .select({
          id: sql`${useId}`.as('id'),
          tenantId: registrationTokens.tenantId,
          tokenId: registrationTokens.id,
          runnerName: sql`${process.name}`.as('runner_name'),
          bootId: sql`${process.bootId}`.as('boot_id'),
          at: sql`${now}`.as('at'),
          runnerId: sql`NULL`.as('runner_id'),
        })
        .from(registrationTokens)
        .where(and(token, alive, usesLeft, notExists(open))),
    ),
    directory
      .update(registrationTokens)
      .set({ uses: sql`${registrationTokens.uses} + 1`, lastUsedAt: now })
      .where(and(token, exists(stillOpen(directory, tenantId, useId)))),
    open.limit(1),
  ])
  return found[0]?.id ?? null
}

/**
 * The pool's object has taken the runner in: the use is spent for good. Where the same process had been taken in
 * with a use already (its calls raced), this one is given back.
 */
export async function settleUse(
  directory: Directory,
  process: RegisteringProcess,
  useId: string | null,
  runnerId: string,
): Promise<void> {
  const settle = directory.update(registrationTokenUses).set({ runnerId }).where(openUse(process))
  if (useId === null) {
    await settle
    return
  }
  const settled = directory
    .select({ id: registrationTokenUses.id })
    .from(registrationTokenUses)
    .where(and(ofProcess(process), eq(registrationTokenUses.runnerId, runnerId)))
  await directory.batch([...giveBack(directory, process, useId, exists(settled)), settle])
}

/** The pool's object has refused the runner: the use is free again. Repeating it gives nothing more back. */
export async function giveBackUse(
  directory: Directory,
  process: RegisteringProcess,
  useId: string,
): Promise<void> {
  await directory.batch(giveBack(directory, process, useId))
}

/** Lowers the count and drops the use, both only while the use is open and the condition holds. */
function giveBack(
  directory: Directory,
  { tenantId, tokenId }: RegisteringProcess,
  useId: string,
  condition?: SQL,
) {
  const mine = stillOpen(directory, tenantId, useId)
  const token = and(eq(registrationTokens.tenantId, tenantId), eq(registrationTokens.id, tokenId))
  return [
    directory
      .update(registrationTokens)
      .set({ uses: sql`${registrationTokens.uses} - 1` })
      .where(and(token, exists(mine), condition)),
    directory.delete(registrationTokenUses).where(and(inArray(registrationTokenUses.id, mine), condition)),
  ] as const
}

function stillOpen(directory: Directory, tenantId: string, useId: string) {
  return directory
    .select({ id: registrationTokenUses.id })
    .from(registrationTokenUses)
    .where(
      and(
        eq(registrationTokenUses.tenantId, tenantId),
        eq(registrationTokenUses.id, useId),
        isNull(registrationTokenUses.runnerId),
      ),
    )
}
