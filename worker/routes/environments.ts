import { z } from 'zod'
import {
  CreateEnvironment,
  Environment,
  ExecutionTarget,
  pageOf,
  UpdateEnvironment,
} from '../../protocol/admin-api.ts'
import { accepted, type Result, refused } from '../../protocol/errors.ts'
import { EnvironmentId } from '../../protocol/ids.ts'
import type { KeyHolder } from '../auth/callers.ts'
import { atLeast } from '../auth/guards.ts'
import {
  deleteEnvironment,
  type EnvironmentChange,
  findEnvironment,
  insertEnvironment,
  listEnvironments,
  updateEnvironment,
} from '../directory/environments.ts'
import { noteChange } from '../edge.ts'
import { invalidField } from '../http/input.ts'
import { idPageQuery, namedQuery, pageById } from '../http/paging.ts'
import { created, done, NO_CONTENT } from '../http/reply.ts'
import { type Call, defineRoute } from '../http/route.ts'
import { mintId } from '../ids.ts'

const EnvironmentPath = z.object({ environment_id: EnvironmentId })

/** Where runs go: a pool of the tenant's own, or elsewhere. */
export const environmentRoutes = [
  defineRoute({
    method: 'post',
    path: '/api/v1/environments',
    tag: 'Environments',
    summary: 'Create an environment',
    guard: atLeast('admin'),
    needsFeature: true,
    body: CreateEnvironment,
    statuses: [201],
    answer: Environment,
    refusals: ['not_found'],
    async handle(call, { body }) {
      const fields = {
        name: body.name,
        execution_target: body.execution_target,
        pool_id: body.pool_id ?? null,
        default_image: body.default_image ?? null,
      }
      const id = mintId('environment')
      const environment = await insertEnvironment(call.directory, call.caller.tenant.id, id, fields, call.now)
      if (environment === null) return refused('not_found', 'no such pool')
      noteChange(call, 'environment.created', id)
      return accepted(created(environment))
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/environments',
    tag: 'Environments',
    summary: 'List environments',
    guard: atLeast('viewer'),
    query: z.strictObject({
      ...idPageQuery('environment'),
      ...namedQuery(EnvironmentId),
      execution_target: ExecutionTarget.optional(),
    }),
    statuses: [200],
    answer: pageOf(Environment),
    async handle(call, { query: { limit, cursor, name, id: ids, execution_target: executionTarget } }) {
      const page = { limit, after: cursor ?? null }
      const filter = { name, ids, executionTarget }
      const rows = await listEnvironments(call.directory, call.caller.tenant.id, page, filter)
      return accepted(done(pageById(rows, limit)))
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/environments/{environment_id}',
    tag: 'Environments',
    summary: 'Read an environment',
    guard: atLeast('viewer'),
    params: EnvironmentPath,
    statuses: [200],
    answer: Environment,
    refusals: ['not_found'],
    async handle(call, { params }) {
      const found = await findEnvironment(call.directory, call.caller.tenant.id, params.environment_id)
      return found === null ? refused('not_found', 'no such environment') : accepted(done(found))
    },
  }),
  defineRoute({
    method: 'patch',
    path: '/api/v1/environments/{environment_id}',
    tag: 'Environments',
    summary: 'Change an environment; runs already queued stay where they are',
    guard: atLeast('admin'),
    needsFeature: true,
    params: EnvironmentPath,
    body: UpdateEnvironment,
    statuses: [200],
    answer: Environment,
    refusals: ['not_found'],
    async handle(call, { params: { environment_id }, body }) {
      const tenantId = call.caller.tenant.id
      const environment = await updateEnvironment(call.directory, tenantId, environment_id, body)
      if (environment === null) return await whyNotUpdated(call, environment_id, body)
      noteChange(call, 'environment.updated', environment_id)
      return accepted(done(environment))
    },
  }),
  defineRoute({
    method: 'delete',
    path: '/api/v1/environments/{environment_id}',
    tag: 'Environments',
    summary: 'Delete an environment; its runs go on and stay readable',
    guard: atLeast('admin'),
    needsFeature: true,
    params: EnvironmentPath,
    statuses: [204],
    answer: z.undefined(),
    refusals: ['not_found'],
    async handle(call, { params: { environment_id } }) {
      if (!(await deleteEnvironment(call.directory, call.caller.tenant.id, environment_id))) {
        return refused('not_found', 'no such environment')
      }
      noteChange(call, 'environment.deleted', environment_id)
      return accepted(NO_CONTENT)
    },
  }),
]

/** A change that could not be stored names nothing there is, unless it leaves self-hosted runs without a pool. */
async function whyNotUpdated(
  call: Call<KeyHolder>,
  environmentId: string,
  change: EnvironmentChange,
): Promise<Result<never>> {
  const stored = await findEnvironment(call.directory, call.caller.tenant.id, environmentId)
  if (stored === null) return refused('not_found', 'no such environment')
  const target = change.execution_target ?? stored.execution_target
  const poolId = change.pool_id === undefined ? stored.pool_id : change.pool_id
  return target === 'self_hosted' && poolId === null
    ? invalidField('pool_id', 'required when execution_target is self_hosted')
    : refused('not_found', 'no such pool')
}
