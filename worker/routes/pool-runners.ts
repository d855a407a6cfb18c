import { z } from 'zod'
import { DrainRequest, type PoolState, pageOf, Runner } from '../../protocol/admin-api.ts'
import { accepted, type Result, refused } from '../../protocol/errors.ts'
import { PoolId, RunnerId } from '../../protocol/ids.ts'
import type { KeyHolder } from '../auth/callers.ts'
import { atLeast } from '../auth/guards.ts'
import { findPool } from '../directory/pools.ts'
import { noteChange } from '../edge.ts'
import type { PoolStub } from '../env.ts'
import { encodeCursor, idPageQuery } from '../http/paging.ts'
import { done, NO_CONTENT, type Reply } from '../http/reply.ts'
import { type Call, defineRoute } from '../http/route.ts'

const PoolPath = z.object({ pool_id: PoolId })
const RunnerPath = z.object({ pool_id: PoolId, runner_id: RunnerId })

/** A pool's runners live in its object; D1 only says whose pool it is. */
export const poolRunnerRoutes = [
  defineRoute({
    method: 'get',
    path: '/api/v1/pools/{pool_id}/runners',
    tag: 'Pools',
    summary: 'List runners',
    guard: atLeast('viewer'),
    params: PoolPath,
    query: z.strictObject(idPageQuery('runner')),
    statuses: [200],
    answer: pageOf(Runner),
    refusals: ['not_found'],
    async handle(call, { params, query: { limit, cursor } }) {
      const pool = await ownPool(call, params.pool_id)
      if (!pool.ok) return pool
      const page = await pool.value.listRunners(limit, cursor ?? null)
      if (!page.ok) return page
      const { items, next_cursor } = page.value
      return accepted(done({ items, next_cursor: next_cursor === null ? null : encodeCursor(next_cursor) }))
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/pools/{pool_id}/runners/{runner_id}',
    tag: 'Pools',
    summary: 'Read a runner',
    guard: atLeast('viewer'),
    params: RunnerPath,
    statuses: [200],
    answer: Runner,
    refusals: ['not_found'],
    async handle(call, { params }) {
      const pool = await ownPool(call, params.pool_id)
      if (!pool.ok) return pool
      const runner = await pool.value.getRunner(params.runner_id)
      return runner.ok ? accepted(done(runner.value)) : runner
    },
  }),
  defineRoute({
    method: 'post',
    path: '/api/v1/pools/{pool_id}/runners/{runner_id}/drain',
    tag: 'Pools',
    summary: 'Give a runner no new leases',
    guard: atLeast('admin'),
    params: RunnerPath,
    body: DrainRequest,
    statuses: [200],
    answer: Runner,
    refusals: ['not_found'],
    handle: (call, { params, body }) => setState(call, params, 'draining', body.note ?? null),
  }),
  defineRoute({
    method: 'post',
    path: '/api/v1/pools/{pool_id}/runners/{runner_id}/resume',
    tag: 'Pools',
    summary: 'Give a runner leases again',
    guard: atLeast('admin'),
    params: RunnerPath,
    body: z.strictObject({}),
    statuses: [200],
    answer: Runner,
    refusals: ['not_found'],
    handle: (call, { params }) => setState(call, params, 'active', null),
  }),
  defineRoute({
    method: 'delete',
    path: '/api/v1/pools/{pool_id}/runners/{runner_id}',
    tag: 'Pools',
    summary: 'Remove a runner; its credential dies at once',
    guard: atLeast('admin'),
    params: RunnerPath,
    query: z.strictObject({ force: z.enum(['true', 'false']).default('false') }),
    statuses: [204],
    answer: z.undefined(),
    refusals: ['not_found'],
    async handle(call, { params, query }) {
      const pool = await ownPool(call, params.pool_id)
      if (!pool.ok) return pool
      const removed = await pool.value.removeRunner(params.runner_id, query.force === 'true')
      if (!removed.ok) return removed
      noteChange(call, 'runner.removed', params.runner_id)
      return accepted(NO_CONTENT)
    },
  }),
]

async function setState(
  call: Call<KeyHolder>,
  path: z.output<typeof RunnerPath>,
  state: PoolState,
  note: string | null,
): Promise<Result<Reply<Runner>>> {
  const pool = await ownPool(call, path.pool_id)
  if (!pool.ok) return pool
  const runner = await pool.value.setRunnerState(path.runner_id, state, note)
  if (!runner.ok) return runner
  noteChange(call, state === 'active' ? 'runner.resumed' : 'runner.drained', path.runner_id)
  return accepted(done(runner.value))
}

async function ownPool(call: Call<KeyHolder>, poolId: string): Promise<Result<PoolStub>> {
  const record = await findPool(call.directory, call.caller.tenant.id, poolId)
  return record === null ? refused('not_found', 'no such pool') : accepted(call.pool(poolId))
}
