import { z } from 'zod'
import { logLine, reasonOf } from '../../durable-objects/log.ts'
import type { PoolSummary } from '../../durable-objects/runner-pool/rpc.ts'
import {
  CreatePool,
  DrainRequest,
  Pool,
  PoolPage,
  type PoolState,
  UpdatePool,
} from '../../protocol/admin-api.ts'
import { accepted, type Result, refused } from '../../protocol/errors.ts'
import { PoolId } from '../../protocol/ids.ts'
import { POOL_PAGE_MAX } from '../../protocol/limits.ts'
import { timestamp } from '../../protocol/text.ts'
import type { KeyHolder } from '../auth/callers.ts'
import { atLeast } from '../auth/guards.ts'
import { mapBounded } from '../concurrency.ts'
import { findPool, insertPool, listPools, type PoolRecord, updatePool } from '../directory/pools.ts'
import { noteChange } from '../edge.ts'
import { idPageQuery, namedQuery, pageOfRows } from '../http/paging.ts'
import { created, done, NO_CONTENT, type Reply } from '../http/reply.ts'
import { type Call, defineRoute } from '../http/route.ts'
import { mintId } from '../ids.ts'
import { deletePool } from '../pools/delete-pool.ts'

const PoolPath = z.object({ pool_id: PoolId })

/** A page of pools asks each one's object; a few at a time leaves connections for everybody else. */
const SUMMARIES_AT_ONCE = 10

/** A pool's name is D1's; its state, note and statistics are its object's. */
export const poolRoutes = [
  defineRoute({
    method: 'post',
    path: '/api/v1/pools',
    tag: 'Pools',
    summary: 'Create a pool',
    guard: atLeast('admin'),
    needsFeature: true,
    body: CreatePool,
    statuses: [201],
    answer: Pool,
    async handle(call, { body }) {
      const { tenant } = call.caller
      const record = {
        id: mintId('pool'),
        name: body.name,
        description: body.description ?? '',
        createdAt: call.now,
      }
      // The object first: a row always has an object behind it, and an object without a row is never asked.
      const object = call.pool(record.id)
      await object.initialise({ tenant_id: tenant.id, tenant_slug: tenant.slug, pool_id: record.id })
      await insertPool(call.directory, tenant.id, record)
      noteChange(call, 'pool.created', record.id)
      return withSummary(record, await object.summary(), created)
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/pools',
    tag: 'Pools',
    summary: 'List pools',
    guard: atLeast('viewer'),
    query: z.strictObject({ ...idPageQuery('pool'), ...namedQuery(PoolId) }),
    statuses: [200],
    answer: PoolPage,
    async handle(call, { query: { limit: asked, cursor, name, id: ids } }) {
      const limit = Math.min(asked, POOL_PAGE_MAX)
      const page = { limit, after: cursor ?? null }
      const rows = await listPools(call.directory, call.caller.tenant.id, page, { name, ids })
      const { items, next_cursor } = pageOfRows(
        rows,
        limit,
        row => row.id,
        row => row,
      )
      const { shown, unavailable } = await withSummaries(call, items)
      if (unavailable.length > 0 && unavailable.length === items.length) {
        return refused('overloaded', 'None of the pools could answer just now; try again.')
      }
      return accepted(done({ items: shown, next_cursor, unavailable }))
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/pools/{pool_id}',
    tag: 'Pools',
    summary: 'Read a pool',
    guard: atLeast('viewer'),
    params: PoolPath,
    statuses: [200],
    answer: Pool,
    refusals: ['not_found'],
    async handle(call, { params: { pool_id } }) {
      const record = await findPool(call.directory, call.caller.tenant.id, pool_id)
      if (record === null) return refused('not_found', 'no such pool')
      return withSummary(record, await call.pool(pool_id).summary(), done)
    },
  }),
  defineRoute({
    method: 'patch',
    path: '/api/v1/pools/{pool_id}',
    tag: 'Pools',
    summary: 'Rename or describe a pool',
    guard: atLeast('admin'),
    needsFeature: true,
    params: PoolPath,
    body: UpdatePool,
    statuses: [200],
    answer: Pool,
    refusals: ['not_found'],
    async handle(call, { params: { pool_id }, body }) {
      const record = await updatePool(call.directory, call.caller.tenant.id, pool_id, body)
      if (record === null) return refused('not_found', 'no such pool')
      noteChange(call, 'pool.updated', pool_id)
      return withSummary(record, await call.pool(pool_id).summary(), done)
    },
  }),
  defineRoute({
    method: 'delete',
    path: '/api/v1/pools/{pool_id}',
    tag: 'Pools',
    summary: 'Delete an empty pool and its tokens',
    guard: atLeast('admin'),
    needsFeature: true,
    params: PoolPath,
    statuses: [204],
    answer: z.undefined(),
    refusals: ['not_found', 'conflict', 'pool_not_empty'],
    async handle(call, { params: { pool_id } }) {
      const deleted = await deletePool(call, pool_id)
      if (!deleted.ok) return deleted
      noteChange(call, 'pool.deleted', pool_id)
      return accepted(NO_CONTENT)
    },
  }),
  defineRoute({
    method: 'post',
    path: '/api/v1/pools/{pool_id}/drain',
    tag: 'Pools',
    summary: 'Give no new leases in this pool',
    guard: atLeast('admin'),
    needsFeature: true,
    params: PoolPath,
    body: DrainRequest,
    statuses: [200],
    answer: Pool,
    refusals: ['not_found'],
    handle: (call, { params, body }) => setState(call, params.pool_id, 'draining', body.note ?? null),
  }),
  defineRoute({
    method: 'post',
    path: '/api/v1/pools/{pool_id}/resume',
    tag: 'Pools',
    summary: 'Give leases in this pool again',
    guard: atLeast('admin'),
    needsFeature: true,
    params: PoolPath,
    body: z.strictObject({}),
    statuses: [200],
    answer: Pool,
    refusals: ['not_found'],
    handle: (call, { params }) => setState(call, params.pool_id, 'active', null),
  }),
]

/** One pool whose object fails costs the others nothing. */
async function withSummaries(
  call: Call<KeyHolder>,
  records: readonly PoolRecord[],
): Promise<{ shown: Pool[]; unavailable: string[] }> {
  const shown: Pool[] = []
  const unavailable: string[] = []
  const summaries = await mapBounded(records, SUMMARIES_AT_ONCE, record => summaryOf(call, record))
  for (const [i, record] of records.entries()) {
    const summary = summaries[i] ?? null
    if (summary === null) unavailable.push(record.id)
    // A pool whose object is gone is being deleted.
    else if (summary.ok) shown.push(poolOf(record, summary.value))
  }
  return { shown, unavailable }
}

/** @returns null when the object fails */
async function summaryOf(call: Call<KeyHolder>, { id }: PoolRecord): Promise<Result<PoolSummary> | null> {
  try {
    return await call.pool(id).summary()
  } catch (error) {
    logLine('warn', 'pool_not_answering', { pool_id: id, reason: reasonOf(error) })
    return null
  }
}

async function setState(
  call: Call<KeyHolder>,
  poolId: string,
  state: PoolState,
  note: string | null,
): Promise<Result<Reply<Pool>>> {
  const record = await findPool(call.directory, call.caller.tenant.id, poolId)
  if (record === null) return refused('not_found', 'no such pool')
  const summary = await call.pool(poolId).setState(state, note)
  if (summary.ok) noteChange(call, state === 'active' ? 'pool.resumed' : 'pool.drained', poolId)
  return withSummary(record, summary, done)
}

function withSummary(
  record: PoolRecord,
  summary: Result<PoolSummary>,
  reply: (pool: Pool) => Reply<Pool>,
): Result<Reply<Pool>> {
  return summary.ok ? accepted(reply(poolOf(record, summary.value))) : summary
}

function poolOf(record: PoolRecord, summary: PoolSummary): Pool {
  return {
    id: record.id,
    name: record.name,
    description: record.description,
    state: summary.state,
    note: summary.note,
    created_at: timestamp(record.createdAt),
    stats: summary.stats,
  }
}
