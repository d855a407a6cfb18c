import { env } from 'cloudflare:workers'
import { beforeAll, describe, expect, it } from 'vitest'
import { openDirectory } from '../../worker/directory/database.ts'
import { listRuns, type RunFilter } from '../../worker/directory/run-history.ts'
import { mintId } from '../../worker/ids.ts'
import { readsOf } from './d1-reads.ts'

/**
 * What a page of runs reads does not depend on how many runs there are. Ten thousand of one tenant and as many of
 * another, nearly all of the first's in one environment, one pool and one status; a handful is elsewhere.
 */
const RUNS = 10_000
const FEW = 5
const PAGE = 50
/**
 * Each item is an entry of the index, a row, and that row once more where the page's size is added up; one more tells
 * whether there is a next page.
 */
const PAGE_READS = 3 * (PAGE + 1) + 10

const mine = mintId('tenant')
const [pool, otherPool] = [mintId('pool'), mintId('pool')]
const [environment, otherEnvironment] = [mintId('environment'), mintId('environment')]

/** The id of the n-th run; ids sort by it. */
const runId = (n: number) => `run_${String(n).padStart(26, '0')}`

async function fill(
  tenantId: string,
  from: number,
  count: number,
  place: { pool: string; environment: string; status: string },
): Promise<void> {
  const document = {
    ...{ environment_id: place.environment, pool_id: place.pool, status: place.status, attempt: 1 },
    ...{ session_id: null, runner_id: null, image: 'agent', image_digest: null, command: null, priority: 0 },
    ...{ labels: {}, timeout_seconds: 1, queue_timeout_seconds: 60, max_attempts: 1, resources: {} },
    ...{ queued_at: '2026-01-01T00:00:00.000Z', started_at: null, finished_at: null, exit_code: null },
    ...{ failure: null, stream: { transport: 'relay', state: 'off', viewers: 0 }, metadata: {} },
  }
  const { pool: poolId, environment: environmentId, status } = place
  await env.DB.prepare(
    `WITH RECURSIVE numbers (n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?2)
     INSERT INTO runs (id, tenant_id, pool_id, environment_id, status, version, document)
     SELECT printf('run_%026d', n), ?3, ?4, ?5, ?6, 1, json_set(?7, '$.id', printf('run_%026d', n)) FROM numbers`,
  )
    .bind(from, from + count, tenantId, poolId, environmentId, status, JSON.stringify(document))
    .run()
}

beforeAll(async () => {
  // The few are the oldest, so that whoever looks for them among the many looks at every one.
  await fill(mine, 0, FEW, { pool, environment, status: 'running' })
  await fill(mine, 10, FEW, { pool: otherPool, environment, status: 'succeeded' })
  await fill(mine, 20, FEW, { pool, environment: otherEnvironment, status: 'succeeded' })
  await fill(mine, 100, RUNS, { pool, environment, status: 'succeeded' })
  await fill(mintId('tenant'), 100 + RUNS, RUNS, { pool: 'pol', environment: 'env', status: 'running' })
})

describe('a page of runs', () => {
  it.each<[string, RunFilter, number]>([
    ['all', {}, PAGE],
    ['of a pool', { poolId: pool }, PAGE],
    ['of a pool with few', { poolId: otherPool }, FEW],
    ['of an environment', { environmentId: environment }, PAGE],
    ['of an environment with few', { environmentId: otherEnvironment }, FEW],
    ['of a status', { status: 'succeeded' }, PAGE],
    ['of a status of few', { status: 'running' }, FEW],
    ['of a status of none', { status: 'lost' }, 0],
    ['of a pool and a status of few', { poolId: pool, status: 'running' }, FEW],
    ['of a pool and a status of none', { poolId: pool, status: 'lost' }, 0],
    ['of an environment and a status of few', { environmentId: environment, status: 'running' }, FEW],
    ['of an environment and a status of none', { environmentId: environment, status: 'lost' }, 0],
    ['of a pool with few and a status of many', { poolId: otherPool, status: 'succeeded' }, FEW],
    [
      'of an environment with few and a status of many',
      { environmentId: otherEnvironment, status: 'succeeded' },
      FEW,
    ],
    ['of all three', { poolId: pool, environmentId: environment, status: 'running' }, FEW],
  ])('%s reads little more than it shows', async (_, filter, items) => {
    for (const after of [null, runId(5_000)]) {
      const { rows, plan } = await readsOf(env.DB, async database => {
        const found = await listRuns(openDirectory(database), mine, filter, { limit: PAGE, after })
        expect(found.shown).toHaveLength(items)
        expect(found.isMore).toBe(items === PAGE)
      })
      expect(rows, plan.join('; ')).toBeLessThanOrEqual(PAGE_READS)
      // What was found is passed over; the table never is.
      expect(plan.join('; ')).not.toMatch(/SCAN runs|TEMP B-TREE/)
    }
  })
})
