import { z } from 'zod'
import { AuditEvent, pageOf } from '../../protocol/admin-api.ts'
import { accepted } from '../../protocol/errors.ts'
import { atLeast } from '../auth/guards.ts'
import { listAuditEvents } from '../directory/audit-events.ts'
import { idPageQuery, pageById } from '../http/paging.ts'
import { done } from '../http/reply.ts'
import { defineRoute } from '../http/route.ts'

/** Who did what to what, when and from where. */
export const auditEventRoutes = [
  defineRoute({
    method: 'get',
    path: '/api/v1/audit-events',
    tag: 'Audit',
    summary: 'List changes and refused credentials',
    guard: atLeast('admin'),
    query: z.strictObject(idPageQuery('auditEvent')),
    statuses: [200],
    answer: pageOf(AuditEvent),
    async handle(call, { query: { limit, cursor } }) {
      const page = { limit, after: cursor ?? null }
      const rows = await listAuditEvents(call.directory, call.caller.tenant.id, page)
      return accepted(done(pageById(rows, limit)))
    },
  }),
]
