import { z } from 'zod'
import {
  CreateApiKey,
  CreatedApiKey,
  CreatedTenant,
  CreateTenant,
  pageOf,
  Tenant,
} from '../../protocol/admin-api.ts'
import { accepted, refused } from '../../protocol/errors.ts'
import { TenantId } from '../../protocol/ids.ts'
import { operator } from '../auth/guards.ts'
import { createdKey, mintKey } from '../auth/mint-key.ts'
import { insertKey } from '../directory/api-keys.ts'
import { findTenant, insertTenant, listTenants } from '../directory/tenants.ts'
import { noteAudit } from '../edge.ts'
import { idPageQuery, pageById } from '../http/paging.ts'
import { created, done } from '../http/reply.ts'
import { defineRoute } from '../http/route.ts'
import { mintId } from '../ids.ts'

/** What the operator of the control plane can do: let tenants in, and give a tenant a key when it has lost its own. */
export const tenantRoutes = [
  defineRoute({
    method: 'post',
    path: '/api/v1/tenants',
    tag: 'Tenants',
    summary: 'Create a tenant and its first admin key',
    guard: operator,
    body: CreateTenant,
    statuses: [201],
    answer: CreatedTenant,
    refusals: ['conflict'],
    async handle(call, { body }) {
      const { key, secret } = await mintKey({ name: 'first admin key', role: 'admin' }, call.now)
      const fields = { id: mintId('tenant'), ...body }
      const tenant = await insertTenant(call.directory, fields, key, call.now)
      if (!tenant.ok) return tenant
      const about = { tenant: { id: fields.id }, actor: 'operator' }
      noteAudit(call, { ...about, action: 'tenant.created', target: fields.id })
      noteAudit(call, { ...about, action: 'api_key.created', target: key.id })
      return accepted(created({ tenant: tenant.value, api_key: createdKey(key, secret) }))
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/tenants',
    tag: 'Tenants',
    summary: 'List tenants',
    guard: operator,
    query: z.strictObject(idPageQuery('tenant')),
    statuses: [200],
    answer: pageOf(Tenant),
    async handle(call, { query: { limit, cursor } }) {
      const rows = await listTenants(call.directory, { limit, after: cursor ?? null })
      return accepted(done(pageById(rows, limit)))
    },
  }),
  defineRoute({
    method: 'post',
    path: '/api/v1/tenants/{tenant_id}/api-keys',
    tag: 'Tenants',
    summary: 'Create a key for a tenant',
    guard: operator,
    params: z.object({ tenant_id: TenantId }),
    body: CreateApiKey,
    statuses: [201],
    answer: CreatedApiKey,
    refusals: ['not_found'],
    async handle(call, { params, body }) {
      const tenant = await findTenant(call.directory, params.tenant_id)
      if (tenant === null) return refused('not_found', 'no such tenant')
      const { key, secret } = await mintKey(body, call.now)
      await insertKey(call.directory, tenant.id, key, call.now)
      noteAudit(call, {
        tenant: { id: tenant.id },
        actor: 'operator',
        action: 'api_key.created',
        target: key.id,
      })
      return accepted(created(createdKey(key, secret)))
    },
  }),
]
