import { z } from 'zod'
import {
  CreatedRegistrationToken,
  CreateRegistrationToken,
  pageOf,
  RegistrationToken,
} from '../../protocol/admin-api.ts'
import { accepted, refused } from '../../protocol/errors.ts'
import { PoolId, RegistrationTokenId } from '../../protocol/ids.ts'
import { hashSecret, mintSecret, secretHint } from '../../protocol/secrets.ts'
import { timestamp } from '../../protocol/text.ts'
import { atLeast } from '../auth/guards.ts'
import { findPool } from '../directory/pools.ts'
import { insertToken, listTokens, revokeToken } from '../directory/registration-tokens.ts'
import { noteChange } from '../edge.ts'
import { idPageQuery, pageOfRows } from '../http/paging.ts'
import { created, done, NO_CONTENT } from '../http/reply.ts'
import { defineRoute } from '../http/route.ts'
import { mintId } from '../ids.ts'
import { dockerRun, originOf } from '../runners/docker-run.ts'

const PoolPath = z.object({ pool_id: PoolId })

/** Secrets that let new runners join a pool: shown once, counted, revocable. */
export const registrationTokenRoutes = [
  defineRoute({
    method: 'post',
    path: '/api/v1/pools/{pool_id}/registration-tokens',
    tag: 'Pools',
    summary: 'Create a registration token; its secret is shown once',
    guard: atLeast('admin'),
    needsFeature: true,
    params: PoolPath,
    body: CreateRegistrationToken,
    statuses: [201],
    answer: CreatedRegistrationToken,
    refusals: ['not_found'],
    async handle(call, { params: { pool_id }, body }) {
      const tenantId = call.caller.tenant.id
      if ((await findPool(call.directory, tenantId, pool_id)) === null) {
        return refused('not_found', 'no such pool')
      }
      const secret = mintSecret('registrationToken')
      const token = {
        id: mintId('registrationToken'),
        name: body.name ?? '',
        hash: await hashSecret(secret),
        hint: secretHint('registrationToken', secret),
        createdAt: call.now,
        expiresAt: call.now + body.expires_in_seconds * 1000,
        maxUses: body.max_uses,
      }
      await insertToken(call.directory, tenantId, pool_id, token)
      noteChange(call, 'registration_token.created', token.id)
      return accepted(
        created({
          id: token.id,
          pool_id,
          name: token.name,
          secret,
          expires_at: timestamp(token.expiresAt),
          max_uses: token.maxUses,
          docker_run: dockerRun(originOf(call.request), pool_id, secret),
        }),
      )
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/pools/{pool_id}/registration-tokens',
    tag: 'Pools',
    summary: 'List registration tokens, without their secrets',
    guard: atLeast('admin'),
    params: PoolPath,
    query: z.strictObject(idPageQuery('registrationToken')),
    statuses: [200],
    answer: pageOf(RegistrationToken),
    refusals: ['not_found'],
    async handle(call, { params: { pool_id }, query: { limit, cursor } }) {
      const tenantId = call.caller.tenant.id
      if ((await findPool(call.directory, tenantId, pool_id)) === null) {
        return refused('not_found', 'no such pool')
      }
      const rows = await listTokens(call.directory, tenantId, pool_id, { limit, after: cursor ?? null })
      const online = await call.pool(pool_id).runnersOnlineByToken()
      if (!online.ok) return online
      const page = pageOfRows(
        rows,
        limit,
        token => token.id,
        token => ({ ...token, runners_online: online.value[token.id] ?? 0 }),
      )
      return accepted(done(page))
    },
  }),
  defineRoute({
    method: 'delete',
    path: '/api/v1/pools/{pool_id}/registration-tokens/{token_id}',
    tag: 'Pools',
    summary: 'Revoke a registration token; runners it let in stay',
    guard: atLeast('admin'),
    needsFeature: true,
    params: z.object({ pool_id: PoolId, token_id: RegistrationTokenId }),
    statuses: [204],
    answer: z.undefined(),
    refusals: ['not_found'],
    async handle(call, { params: { pool_id, token_id } }) {
      if (!(await revokeToken(call.directory, call.caller.tenant.id, pool_id, token_id, call.now))) {
        return refused('not_found', 'no such token')
      }
      noteChange(call, 'registration_token.revoked', token_id)
      return accepted(NO_CONTENT)
    },
  }),
]
