import { z } from 'zod'
import { accepted, refused } from '../../protocol/errors.ts'
import { PoolId } from '../../protocol/ids.ts'
import { Hours, Overview, PoolHistory } from '../../protocol/overview.ts'
import { atLeast } from '../auth/guards.ts'
import { findPool } from '../directory/pools.ts'
import { done } from '../http/reply.ts'
import { defineRoute } from '../http/route.ts'
import { overviewOf, spanOf } from '../overview/overview.ts'

const HoursQuery = z.strictObject({ hours: Hours })

/** How a fleet does, at a glance. */
export const overviewRoutes = [
  defineRoute({
    method: 'get',
    path: '/api/v1/overview',
    tag: 'Pools',
    summary: 'All pools together: now, over time, and what needs attention',
    guard: atLeast('viewer'),
    query: HoursQuery,
    statuses: [200],
    answer: Overview,
    handle: async (call, { query }) => accepted(done(await overviewOf(call, query.hours))),
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/pools/{pool_id}/history',
    tag: 'Pools',
    summary: 'Queue and slots of a pool over time; over more than a day, the highest of each step',
    guard: atLeast('viewer'),
    params: z.object({ pool_id: PoolId }),
    query: HoursQuery,
    statuses: [200],
    answer: PoolHistory,
    refusals: ['not_found'],
    async handle(call, { params: { pool_id }, query }) {
      const record = await findPool(call.directory, call.caller.tenant.id, pool_id)
      if (record === null) return refused('not_found', 'no such pool')
      const history = await call.pool(pool_id).history(spanOf(call.now, query.hours))
      return history.ok ? accepted(done({ items: history.value })) : history
    },
  }),
]
