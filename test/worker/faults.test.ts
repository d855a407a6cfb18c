import { createExecutionContext, waitOnExecutionContext } from 'cloudflare:test'
import { describe, expect, it, vi } from 'vitest'
import { type Answer, type Ask, BINDINGS, call, outcome, send } from './client.ts'
import { failingD1, failingOnce, randomFrom, slowBatches } from './failing-d1.ts'
import {
  makeEnvironment,
  makePool,
  makeRunner,
  makeTenant,
  makeToken,
  ok,
  registration,
  sync,
} from './world.ts'

/** A binding whose every method throws. */
const BROKEN = new Proxy(
  {},
  {
    get: () => () => {
      throw new Error('gone')
    },
  },
)

async function untilAnswered(method: string, path: string, ask: Ask): Promise<Answer> {
  for (let tries = 0; tries < 50; tries++) {
    const answer = await call(method, path, ask)
    if (outcome(answer) !== 'overloaded') return answer
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0)
  }
  throw new Error(`${method} ${path} never got an answer`)
}

describe('while one in five writes to D1 fails', () => {
  it('every acknowledged run is there, every key made one run, and nothing is a 500', async () => {
    const tenant = await makeTenant()
    const poolId = await makePool(tenant)
    const environmentId = await makeEnvironment(tenant, poolId)
    const path = `/api/v1/environments/${environmentId}/runs`
    const env = { DB: failingD1(BINDINGS.DB, randomFrom(7)) }
    const ask = { key: tenant.keys.member, env }

    const ids: string[] = []
    for (let i = 0; i < 40; i++) {
      const headers = { 'idempotency-key': `build-${i}` }
      ids.push(ok(await untilAnswered('POST', path, { ...ask, headers })).body.id)
    }
    for (let i = 0; i < 20; i++) ids.push(ok(await untilAnswered('POST', path, ask)).body.id)

    expect(new Set(ids).size).toBe(60)
    for (const id of ids) {
      const read = await call('GET', `/api/v1/runs/${id}`, { key: tenant.keys.viewer })
      expect(ok(read).body).toMatchObject({ id, status: 'queued' })
    }
    const { stats } = ok(await call('GET', `/api/v1/pools/${poolId}`, { key: tenant.keys.viewer })).body
    expect(stats.queued).toBe(60)
  })

  it('a token with max_uses 1 still makes one runner, and its process gets in', async () => {
    for (let seed = 1; seed <= 15; seed++) {
      const tenant = await makeTenant()
      const poolId = await makePool(tenant)
      const { secret } = await makeToken(tenant, poolId, { max_uses: 1 })
      const env = { DB: failingD1(BINDINGS.DB, randomFrom(seed), 0.5) }
      const body = registration({ token: secret, poolId })
      ok(await untilAnswered('POST', '/runner/v1/register', { body, env }))
      const other = registration({ token: secret, poolId, name: 'other' })
      expect(outcome(await call('POST', '/runner/v1/register', { body: other })), `seed ${seed}`).toBe(
        'token_used_up',
      )
    }
  })

  it('directory calls answer or say when to come again', async () => {
    const tenant = await makeTenant()
    const ask = { key: tenant.keys.admin, env: { DB: failingD1(BINDINGS.DB, randomFrom(3), 0.5) } }
    const pool = ok(await untilAnswered('POST', '/api/v1/pools', { ...ask, body: { name: 'p' } })).body.id
    const body = { name: 'e', execution_target: 'self_hosted', pool_id: pool }
    const environment = ok(await untilAnswered('POST', '/api/v1/environments', { ...ask, body })).body.id
    ok(await untilAnswered('PATCH', `/api/v1/environments/${environment}`, { ...ask, body: { name: 'f' } }))
    // A delete whose reply was lost was enough, which its repetition finds out.
    const bare = await makePool(tenant)
    expect([204, 'not_found']).toContain(outcome(await untilAnswered('DELETE', `/api/v1/pools/${bare}`, ask)))
    expect(outcome(await call('GET', `/api/v1/pools/${bare}`, { key: tenant.keys.admin }))).toBe('not_found')
  })
})

describe('a run', () => {
  it('that was acknowledged is found in its pool alone while its copy in D1 is missing', async () => {
    const tenant = await makeTenant()
    const pools = [await makePool(tenant), await makePool(tenant), await makePool(tenant)]
    const [poolId = ''] = pools
    const path = `/api/v1/environments/${await makeEnvironment(tenant, poolId)}/runs`
    const env = { DB: failingOnce(BINDINGS.DB, 'runs', false) }
    const { id } = ok(await call('POST', path, { key: tenant.keys.member, env })).body

    const asked: string[] = []
    const watched = {
      getByName: (name: string) => {
        asked.push(name)
        return BINDINGS.RUNNER_POOL.getByName(name)
      },
    }
    const read = { key: tenant.keys.viewer, env: { RUNNER_POOL: watched } }
    expect(ok(await call('GET', `/api/v1/runs/${id}`, read)).body).toMatchObject({ id, status: 'queued' })
    expect(asked).toEqual([poolId])
    const stranger = await makeTenant()
    const foreign = await call('GET', `/api/v1/runs/${id}`, { key: stranger.keys.viewer })
    expect(outcome(foreign)).toBe('not_found')
  })

  it('is acknowledged while D1 keeps the copy waiting', async () => {
    const tenant = await makeTenant()
    const path = `/api/v1/environments/${await makeEnvironment(tenant, await makePool(tenant))}/runs`
    const { promise: awake, resolve: wake } = Promise.withResolvers<void>()
    const context = createExecutionContext()
    const env = { DB: slowBatches(BINDINGS.DB, awake) }
    const response = await send('POST', path, { key: tenant.keys.member, env }, context)
    expect(response.status).toBe(201)
    wake()
    await waitOnExecutionContext(context)
    await response.text()
  })

  it('that no object took is neither listed nor found', async () => {
    const tenant = await makeTenant()
    const path = `/api/v1/environments/${await makeEnvironment(tenant, await makePool(tenant))}/runs`
    const env = { RUNNER_POOL: { getByName: () => BROKEN } }
    expect(outcome(await call('POST', path, { key: tenant.keys.member, env }))).toBe('overloaded')
    const announced = await BINDINGS.DB.prepare('SELECT id, version FROM runs WHERE tenant_id = ?')
      .bind(tenant.id)
      .all()
    expect(announced.results).toMatchObject([{ version: 0 }])
    const id = announced.results[0]?.id
    expect(outcome(await call('GET', `/api/v1/runs/${id}`, { key: tenant.keys.viewer }))).toBe('not_found')
    expect(ok(await call('GET', '/api/v1/runs', { key: tenant.keys.viewer })).body.items).toEqual([])
  })
})

describe('while D1 is down', () => {
  it('directory calls are 503 with Retry-After, and a sync does not notice', async () => {
    const tenant = await makeTenant()
    const runner = await makeRunner(tenant, await makePool(tenant))
    const env = { DB: BROKEN }
    const answer = await call('GET', '/api/v1/pools', { key: tenant.keys.viewer, env })
    expect(outcome(answer)).toBe('overloaded')
    expect(answer.headers.get('retry-after')).not.toBeNull()
    ok(await sync(runner, 1))
    ok(await sync(runner, 2, {}, env))
  })
})

describe('while objects fail', () => {
  it('the list of pools goes without those that do not answer, and names them', async () => {
    const tenant = await makeTenant()
    const pools = [await makePool(tenant), await makePool(tenant), await makePool(tenant)]
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
    const list = async (broken: readonly (string | undefined)[]) => {
      const getByName = (name: string) =>
        broken.includes(name) ? BROKEN : BINDINGS.RUNNER_POOL.getByName(name)
      return await call('GET', '/api/v1/pools', {
        key: tenant.keys.viewer,
        env: { RUNNER_POOL: { getByName } },
      })
    }
    const partly = ok(await list([pools[1]])).body
    expect(partly.items).toMatchObject([{ id: pools[2] }, { id: pools[0] }])
    expect(partly.unavailable).toEqual([pools[1]])
    expect(ok(await list([])).body).toMatchObject({ items: [{}, {}, {}], unavailable: [] })
    expect(outcome(await list(pools))).toBe('overloaded')
    warn.mockRestore()
  })

  it('calls that need one are 503 with Retry-After, and a failed delete can be repeated', async () => {
    const tenant = await makeTenant()
    const poolId = await makePool(tenant)
    const env = { RUNNER_POOL: { getByName: () => BROKEN } }
    const path = `/api/v1/pools/${poolId}`
    for (const method of ['GET', 'DELETE']) {
      expect(outcome(await call(method, path, { key: tenant.keys.admin, env }))).toBe('overloaded')
    }
    await BINDINGS.RUNNER_POOL.getByName(poolId).destroy()
    expect(outcome(await call('DELETE', path, { key: tenant.keys.admin }))).toBe(204)
  })
})
