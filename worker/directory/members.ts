import { and, desc, eq, lt } from 'drizzle-orm'
import type { Actor, Member, Role, Tenant } from '../../protocol/admin-api.ts'
import { timestamp } from '../../protocol/text.ts'
import type { PageRequest } from '../http/paging.ts'
import type { Directory } from './database.ts'
import { members, tenants } from './schema.ts'
import { tenantOf } from './tenants.ts'

type Row = typeof members.$inferSelect

export function memberOf(row: Row): Member {
  return { id: row.id, email: row.email, role: row.role, created_at: timestamp(row.createdAt) }
}

/** A member as a caller: what stands where a key's name is, is the address. */
export function actorOf({ id, email, role, created_at }: Member): Actor {
  return {
    id,
    name: email,
    role,
    hint: '',
    created_at,
    expires_at: null,
    last_used_at: null,
    revoked_at: null,
  }
}

/** Adds a member, or changes the role of one. @returns the role it had; null for a new one */
export async function putMember(
  directory: Directory,
  tenantId: string,
  wanted: { readonly id: string; readonly email: string; readonly role: Role },
  now: number,
): Promise<{ member: Member; before: Role | null }> {
  const [before, [row]] = await directory.batch([
    directory.select({ role: members.role }).from(members).where(mine(tenantId, wanted.email)),
    directory
      .insert(members)
      .values({ ...wanted, tenantId, createdAt: now })
      .onConflictDoUpdate({ target: [members.email, members.tenantId], set: { role: wanted.role } })
      .returning(),
  ])
  if (row === undefined) throw new Error('a member was not stored')
  return { member: memberOf(row), before: before[0]?.role ?? null }
}

/** @returns who it was, or null */
export async function deleteMember(
  directory: Directory,
  tenantId: string,
  email: string,
): Promise<Member | null> {
  const [row] = await directory.delete(members).where(mine(tenantId, email)).returning()
  return row === undefined ? null : memberOf(row)
}

export async function listMembers(
  directory: Directory,
  tenantId: string,
  page: PageRequest,
): Promise<Member[]> {
  const rows = await directory
    .select()
    .from(members)
    .where(and(eq(members.tenantId, tenantId), page.after === null ? undefined : lt(members.id, page.after)))
    .orderBy(desc(members.id))
    .limit(page.limit + 1)
  return rows.map(memberOf)
}

/** More than anybody is a member of. */
const MEMBERSHIP_LIMIT = 100

/** Across tenants: the address is what tells where somebody is a member. */
export async function membershipsOf(
  directory: Directory,
  email: string,
): Promise<{ tenant: Tenant; member: Member }[]> {
  const rows = await directory
    .select({ tenant: tenants, member: members })
    .from(members)
    .innerJoin(tenants, eq(tenants.id, members.tenantId))
    .where(eq(members.email, email))
    .orderBy(tenants.slug)
    .limit(MEMBERSHIP_LIMIT)
  return rows.map(row => ({ tenant: tenantOf(row.tenant), member: memberOf(row.member) }))
}

function mine(tenantId: string, email: string) {
  return and(eq(members.tenantId, tenantId), eq(members.email, email))
}
