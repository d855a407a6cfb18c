import { beforeEach, describe, expect, it } from 'vitest'
import { BINDINGS, call, OPERATOR_KEY, outcome } from './client.ts'
import { failingOnce } from './failing-d1.ts'
import { makeEnvironment, makePool, makeTenant, ok, type TestTenant } from './world.ts'

let tenant: TestTenant
let poolId: string
let environmentId: string
beforeEach(async () => {
  tenant = await makeTenant()
  poolId = await makePool(tenant)
  environmentId = await makeEnvironment(tenant, poolId)
})

function create(idempotencyKey: string, body: unknown = {}, env: Record<string, unknown> = {}) {
  return call('POST', `/api/v1/environments/${environmentId}/runs`, {
    key: tenant.keys.member,
    body,
    headers: { 'idempotency-key': idempotencyKey },
    env,
  })
}

async function queued(): Promise<number> {
  return ok(await call('GET', `/api/v1/pools/${poolId}`, { key: tenant.keys.viewer })).body.stats.queued
}

describe('an idempotency key', () => {
  it('gives one run to all who use it at once: one 201, the others 200', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => create('build-1')))
    const statuses = answers.map(answer => ok(answer).status).sort()
    expect(statuses).toEqual([...Array(19).fill(200), 201])
    expect(new Set(answers.map(answer => answer.body.id)).size).toBe(1)
    expect(await queued()).toBe(1)
  })

  it('is refused with another body or for another environment', async () => {
    expect(outcome(await create('build-1', { priority: 1 }))).toBe(201)
    expect(outcome(await create('build-1', { priority: 2 }))).toBe('idempotency_mismatch')
    environmentId = await makeEnvironment(tenant, poolId)
    expect(outcome(await create('build-1', { priority: 1 }))).toBe('idempotency_mismatch')
    expect(await queued()).toBe(1)
  })

  it('knows the same body in another order and with defaults spelled out', async () => {
    expect(outcome(await create('build-1', { labels: { a: '1', b: '2' } }))).toBe(201)
    const again = { stream: true, labels: { b: '2', a: '1' }, priority: 0 }
    expect(outcome(await create('build-1', again))).toBe(200)
  })

  it('is one tenant’s own', async () => {
    const first = ok(await create('build-1')).body.id
    const other = await makeTenant()
    const theirs = await makeEnvironment(other, await makePool(other))
    const answer = await call('POST', `/api/v1/environments/${theirs}/runs`, {
      key: other.keys.member,
      headers: { 'idempotency-key': 'build-1' },
    })
    expect(answer.status).toBe(201)
    expect(answer.body.id).not.toBe(first)
  })

  it('is as new after 24 hours, and not before', async () => {
    const first = ok(await create('build-1')).body.id
    const age = (hours: number) =>
      BINDINGS.DB.prepare('UPDATE idempotency_keys SET created_at = ? WHERE tenant_id = ?')
        .bind(Date.now() - hours * 3_600_000, tenant.id)
        .run()
    await age(23.9)
    expect((await create('build-1')).body.id).toBe(first)
    await age(24)
    const second = await create('build-1', { priority: 9 })
    expect(second.status).toBe(201)
    expect(second.body.id).not.toBe(first)
  })

  it('answers a retry from history once the pool is gone', async () => {
    const first = ok(await create('build-1')).body.id
    ok(await call('POST', `/api/v1/runs/${first}/cancel`, { key: tenant.keys.member }))
    ok(await call('DELETE', `/api/v1/environments/${environmentId}`, { key: tenant.keys.admin }))
    ok(await call('DELETE', `/api/v1/pools/${poolId}`, { key: tenant.keys.admin }))
    const again = await create('build-1')
    expect(again.status).toBe(200)
    expect(again.body).toMatchObject({ id: first, status: 'cancelled' })
  })

  it('makes the run on the retry when the first call died before the object had it', async () => {
    const dead = {
      RUNNER_POOL: { getByName: () => ({ enqueue: () => Promise.reject(new Error('reset')) }) },
    }
    expect(outcome(await create('build-1', {}, dead))).toBe('overloaded')
    expect(outcome(await create('build-1'))).toBe(201)
    expect(outcome(await create('build-1'))).toBe(200)
    expect(await queued()).toBe(1)
  })

  describe('whose first call died, and whose pool was deleted since', () => {
    beforeEach(async () => {
      const dead = {
        RUNNER_POOL: { getByName: () => ({ enqueue: () => Promise.reject(new Error('reset')) }) },
      }
      expect(outcome(await create('build-1', {}, dead))).toBe('overloaded')
      const former = poolId
      poolId = await makePool(tenant)
      const moved = { key: tenant.keys.admin, body: { pool_id: poolId } }
      ok(await call('PATCH', `/api/v1/environments/${environmentId}`, moved))
      ok(await call('DELETE', `/api/v1/pools/${former}`, { key: tenant.keys.admin }))
    })

    it('makes one run in the pool that the environment has now, for all who retry', async () => {
      const answers = await Promise.all([create('build-1'), create('build-1'), create('build-1')])
      expect(answers.map(answer => ok(answer).status).sort()).toEqual([200, 200, 201])
      const again = ok(await create('build-1')).body
      expect(again.pool_id).toBe(poolId)
      expect(new Set(answers.map(answer => answer.body.id))).toEqual(new Set([again.id]))
      expect(await queued()).toBe(1)
    })

    it('makes a run that is found while its copy in D1 is missing', async () => {
      const { id } = ok(await create('build-1', {}, { DB: failingOnce(BINDINGS.DB, 'runs', false) })).body
      const read = await call('GET', `/api/v1/runs/${id}`, { key: tenant.keys.viewer })
      expect(ok(read).body).toMatchObject({ id, pool_id: poolId, status: 'queued' })
    })
  })

  it('finds its run again when the reply of the object was lost', async () => {
    const real = BINDINGS.RUNNER_POOL.getByName(poolId)
    const deaf = {
      RUNNER_POOL: {
        getByName: () => ({
          enqueue: async (run: Parameters<typeof real.enqueue>[0]) => {
            await real.enqueue(run)
            throw new Error('the reply was lost')
          },
        }),
      },
    }
    expect(outcome(await create('build-1', {}, deaf))).toBe('overloaded')
    expect(outcome(await create('build-1'))).toBe(200)
    expect(await queued()).toBe(1)
  })

  it.each([[''], ['a b'], ['x'.repeat(256)]])('cannot be "%s"', async key => {
    expect(outcome(await create(key))).toBe('invalid_request')
  })
})

it('an operator key creates no run', async () => {
  const path = `/api/v1/environments/${environmentId}/runs`
  expect(outcome(await call('POST', path, { key: OPERATOR_KEY }))).toBe('forbidden')
})
