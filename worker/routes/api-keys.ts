import { z } from 'zod'
import { ApiKey, CreateApiKey, CreatedApiKey, Me, pageOf } from '../../protocol/admin-api.ts'
import { accepted, refused } from '../../protocol/errors.ts'
import { ApiKeyId } from '../../protocol/ids.ts'
import { describeCaller } from '../auth/browser-session.ts'
import { atLeast } from '../auth/guards.ts'
import { createdKey, mintKey } from '../auth/mint-key.ts'
import { insertKey, listKeys, revokeKey } from '../directory/api-keys.ts'
import { noteChange } from '../edge.ts'
import { idPageQuery, pageById } from '../http/paging.ts'
import { created, done, NO_CONTENT } from '../http/reply.ts'
import { defineRoute } from '../http/route.ts'
import { revokeSource } from '../live/revoke-source.ts'

/** Who am I, and who else may call for this tenant. */
export const apiKeyRoutes = [
  defineRoute({
    method: 'get',
    path: '/api/v1/me',
    tag: 'Tenants',
    summary: 'The tenant, key and features behind the credential',
    guard: atLeast('viewer'),
    statuses: [200],
    answer: Me,
    handle: async ({ caller, settings }) => accepted(done(describeCaller(settings, caller))),
  }),
  defineRoute({
    method: 'post',
    path: '/api/v1/api-keys',
    tag: 'Tenants',
    summary: 'Create a key; its secret is shown once',
    guard: atLeast('admin'),
    body: CreateApiKey,
    statuses: [201],
    answer: CreatedApiKey,
    async handle(call, { body }) {
      const { key, secret } = await mintKey(body, call.now)
      await insertKey(call.directory, call.caller.tenant.id, key, call.now)
      noteChange(call, 'api_key.created', key.id)
      return accepted(created(createdKey(key, secret)))
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/api-keys',
    tag: 'Tenants',
    summary: 'List keys',
    guard: atLeast('admin'),
    query: z.strictObject(idPageQuery('apiKey')),
    statuses: [200],
    answer: pageOf(ApiKey),
    async handle(call, { query: { limit, cursor } }) {
      const rows = await listKeys(call.directory, call.caller.tenant.id, { limit, after: cursor ?? null })
      return accepted(done(pageById(rows, limit)))
    },
  }),
  defineRoute({
    method: 'delete',
    path: '/api/v1/api-keys/{key_id}',
    tag: 'Tenants',
    summary: 'Revoke a key',
    guard: atLeast('admin'),
    params: z.object({ key_id: ApiKeyId }),
    statuses: [204],
    answer: z.undefined(),
    refusals: ['not_found'],
    async handle(call, { params: { key_id } }) {
      if (!(await revokeKey(call.directory, call.caller.tenant.id, key_id, call.now))) {
        return refused('not_found', 'no such key')
      }
      noteChange(call, 'api_key.revoked', key_id)
      await revokeSource(call, call.caller.tenant.id, key_id)
      return accepted(NO_CONTENT)
    },
  }),
]
