import { z } from 'zod'
import { IdempotencyKey, pageOf } from '../../protocol/admin-api.ts'
import { accepted, type Result, refused } from '../../protocol/errors.ts'
import { EnvironmentId, PoolId, RunId } from '../../protocol/ids.ts'
import { asksForGpu, CreateRun, Placement, Run, RunEvent, RunStatus } from '../../protocol/run.ts'
import { atLeast } from '../auth/guards.ts'
import { listRunEvents, listRuns } from '../directory/run-history.ts'
import { noteChange } from '../edge.ts'
import { parseWith } from '../http/input.ts'
import { idPageQuery, pageOfRows, pageUpTo, seqPageQuery } from '../http/paging.ts'
import { done } from '../http/reply.ts'
import { defineRoute } from '../http/route.ts'
import { createRun } from '../runs/create-run.ts'
import { locateRun } from '../runs/locate-run.ts'

/** As the product's page puts it. */
const GPU_REASON =
  'GPU-backed self-hosted support is planned, but not available yet; treat heavy WebGL as unsupported.'

const RunPath = z.object({ run_id: RunId })

/** What a user asks for, and what became of it. */
export const runRoutes = [
  defineRoute({
    method: 'post',
    path: '/api/v1/environments/{environment_id}/runs',
    tag: 'Runs',
    summary: 'Create a run; repeat safely with an Idempotency-Key',
    guard: atLeast('member'),
    needsFeature: true,
    params: z.object({ environment_id: EnvironmentId }),
    headers: z.object({ 'Idempotency-Key': IdempotencyKey.optional() }),
    body: CreateRun,
    parseBody: raw => (asksForGpu(raw) ? refused('gpu_unsupported', GPU_REASON) : parseWith(CreateRun, raw)),
    statuses: [200, 201],
    answer: Run,
    refusals: ['not_found', 'execution_target_not_self_hosted', 'idempotency_mismatch', 'gpu_unsupported'],
    async handle(call, { params: { environment_id }, body }) {
      const key = idempotencyKeyOf(call.request)
      if (!key.ok) return key
      const reply = await createRun(call, {
        environmentId: environment_id,
        body,
        idempotencyKey: key.value,
      })
      if (reply.ok && reply.value.status === 201) noteChange(call, 'run.created', reply.value.body.id)
      return reply
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/runs',
    tag: 'Runs',
    summary: 'List runs',
    guard: atLeast('viewer'),
    query: z.strictObject({
      ...idPageQuery('run'),
      environment_id: EnvironmentId.optional(),
      pool_id: PoolId.optional(),
      status: RunStatus.optional(),
    }),
    statuses: [200],
    answer: pageOf(Run),
    async handle(call, { query }) {
      const filter = { environmentId: query.environment_id, poolId: query.pool_id, status: query.status }
      const page = { limit: query.limit, after: query.cursor ?? null }
      const { shown, isMore } = await listRuns(call.directory, call.caller.tenant.id, filter, page)
      return accepted(done(pageUpTo(shown, isMore)))
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/runs/{run_id}',
    tag: 'Runs',
    summary: 'Read a run as it is now',
    guard: atLeast('viewer'),
    params: RunPath,
    statuses: [200],
    answer: Run,
    refusals: ['not_found'],
    async handle(call, { params }) {
      const located = await locateRun(call, params.run_id)
      return located.ok ? accepted(done(located.value.run)) : located
    },
  }),
  defineRoute({
    method: 'post',
    path: '/api/v1/runs/{run_id}/cancel',
    tag: 'Runs',
    summary: 'Cancel a run; repeating it, or cancelling an ended run, changes nothing',
    guard: atLeast('member'),
    needsFeature: true,
    params: RunPath,
    body: z.strictObject({}),
    statuses: [200],
    answer: Run,
    refusals: ['not_found'],
    async handle(call, { params }) {
      const located = await locateRun(call, params.run_id)
      if (!located.ok) return located
      if (located.value.state === 'ended') return accepted(done(located.value.run))
      const cancelled = await located.value.pool.cancelRun(params.run_id)
      if (!cancelled.ok) return cancelled
      noteChange(call, 'run.cancelled', params.run_id)
      return accepted(done(cancelled.value))
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/runs/{run_id}/events',
    tag: 'Runs',
    summary: 'What happened to a run, oldest first',
    guard: atLeast('viewer'),
    params: RunPath,
    query: z.strictObject(seqPageQuery()),
    statuses: [200],
    answer: pageOf(RunEvent),
    refusals: ['not_found'],
    async handle(call, { params, query: { limit, cursor } }) {
      const located = await locateRun(call, params.run_id)
      if (!located.ok) return located
      const rows = await listRunEvents(call.directory, call.caller.tenant.id, params.run_id, {
        limit,
        after: cursor ?? null,
      })
      const page = pageOfRows(
        rows,
        limit,
        row => String(row.seq),
        row => row.event,
      )
      return accepted(done(page))
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/runs/{run_id}/placement',
    tag: 'Runs',
    summary: 'Why a run waits, runner by runner',
    guard: atLeast('viewer'),
    params: RunPath,
    statuses: [200],
    answer: Placement,
    refusals: ['not_found'],
    async handle(call, { params }) {
      const located = await locateRun(call, params.run_id)
      if (!located.ok) return located
      if (located.value.state === 'ended') {
        return accepted(done({ waiting_for: null, candidates: [] }))
      }
      const placement = await located.value.pool.placement(params.run_id)
      return placement.ok ? accepted(done(placement.value)) : placement
    },
  }),
]

function idempotencyKeyOf(request: Request): Result<string | null> {
  const given = request.headers.get('idempotency-key')
  return given === null ? accepted(null) : parseWith(IdempotencyKey, given, ['Idempotency-Key'])
}
