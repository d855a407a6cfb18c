import { z } from 'zod'
import { DeleteMember, Member, PutMember, pageOf } from '../../protocol/admin-api.ts'
import { accepted, refused } from '../../protocol/errors.ts'
import type { KeyHolder } from '../auth/callers.ts'
import { atLeast } from '../auth/guards.ts'
import { deleteMember, listMembers, putMember } from '../directory/members.ts'
import { noteAudit } from '../edge.ts'
import { idPageQuery, pageById } from '../http/paging.ts'
import { done, NO_CONTENT } from '../http/reply.ts'
import { type Call, defineRoute } from '../http/route.ts'
import { mintId } from '../ids.ts'
import { revokeSource } from '../live/revoke-source.ts'

const PATH = '/api/v1/members'

/** Who may sign in through Cloudflare Access, and as what. A change holds from the next call of theirs. */
export const memberRoutes = [
  defineRoute({
    method: 'get',
    path: PATH,
    tag: 'Sign-in',
    summary: 'List members',
    guard: atLeast('admin'),
    query: z.strictObject(idPageQuery('member')),
    statuses: [200],
    answer: pageOf(Member),
    async handle(call, { query: { limit, cursor } }) {
      const rows = await listMembers(call.directory, call.caller.tenant.id, { limit, after: cursor ?? null })
      return accepted(done(pageById(rows, limit)))
    },
  }),
  defineRoute({
    method: 'put',
    path: PATH,
    tag: 'Sign-in',
    summary: 'Add a member, or give one another role',
    guard: atLeast('admin'),
    body: PutMember,
    statuses: [200],
    answer: Member,
    async handle(call, { body }) {
      const tenantId = call.caller.tenant.id
      const wanted = { id: mintId('member'), ...body }
      const { member, before } = await putMember(call.directory, tenantId, wanted, call.now)
      if (before !== member.role) {
        note(call, before === null ? 'member.added' : 'member.role_changed', member)
      }
      // Who watches does so with the role of before.
      if (before !== null && before !== member.role) await revokeSource(call, tenantId, member.id)
      return accepted(done(member))
    },
  }),
  defineRoute({
    method: 'delete',
    path: PATH,
    tag: 'Sign-in',
    summary: 'Remove a member, who is signed out at once',
    guard: atLeast('admin'),
    body: DeleteMember,
    statuses: [204],
    answer: z.undefined(),
    refusals: ['not_found'],
    async handle(call, { body }) {
      const tenantId = call.caller.tenant.id
      const removed = await deleteMember(call.directory, tenantId, body.email)
      if (removed === null) return refused('not_found', 'no such member')
      note(call, 'member.removed', removed)
      await revokeSource(call, tenantId, removed.id)
      return accepted(NO_CONTENT)
    },
  }),
]

function note(call: Call<KeyHolder>, action: string, { id, email, role }: Member): void {
  noteAudit(call, {
    tenant: { id: call.caller.tenant.id },
    actor: call.caller.key.id,
    action,
    target: id,
    detail: `${email} ${role}`,
  })
}
