import { runDurableObjectAlarm } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { beforeAll, describe, expect, it } from 'vitest'
import { BODY_LIMIT_BYTES } from '../../protocol/limits.ts'
import { BINDINGS, call, OPERATOR_KEY, outcome, problemOf } from './client.ts'
import { failingOnce } from './failing-d1.ts'
import { makeEnvironment, makePool, makeRun, makeRunner, makeTenant, ok, type TestTenant } from './world.ts'

let tenant: TestTenant
let key: string
beforeAll(async () => {
  tenant = await makeTenant()
  key = tenant.keys.admin
})

describe('paths and methods', () => {
  it.each([
    ['/nope'],
    ['/api/v1/nope'],
    ['/runner/v1/nope'],
    ['/api/v1/pools/'],
    ['/api/v1/sessions'],
    ['//'],
  ])('answers 404 at %s with any credential and with none', async path => {
    for (const credential of [undefined, key, OPERATOR_KEY, 'rubbish']) {
      expect(outcome(await call('GET', path, { key: credential }))).toBe('not_found')
    }
  })

  it.each([
    ['PUT', '/api/v1/pools', 'POST, GET'],
    ['OPTIONS', '/api/v1/me', 'GET'],
    ['GET', '/runner/v1/register', 'POST'],
    ['DELETE', '/healthz', 'GET'],
  ])('answers %s %s with 405 and what is allowed', async (method, path, allowed) => {
    const answer = await call(method, path)
    expect(outcome(answer)).toBe('method_not_allowed')
    expect(answer.headers.get('allow')).toBe(allowed)
  })

  it('opens a websocket at /healthz for anybody, and closes it', async () => {
    const { status, webSocket } = await call('GET', '/healthz', { headers: { upgrade: 'WebSocket' } })
    expect(status).toBe(101)
    const closed = new Promise(resolve => webSocket?.addEventListener('close', ({ code }) => resolve(code)))
    webSocket?.accept()
    expect(await closed).toBe(1000)
  })

  it('keeps every answer of the API out of caches', async () => {
    for (const path of ['/api/v1/me', '/api/v1/nope', '/runner/v1/register']) {
      expect((await call('GET', path, { key })).headers.get('cache-control')).toBe('no-store')
    }
  })
})

describe('bodies', () => {
  const post = (ask: Parameters<typeof call>[2]) => call('POST', '/api/v1/pools', { key, ...ask })
  const json = { 'content-type': 'application/json' }

  it.each([
    ['text/plain'],
    ['application/x-www-form-urlencoded'],
    ['application/jsonp'],
    ['multipart/form-data'],
    [''],
  ])('refuses content type "%s"', async type => {
    expect(outcome(await post({ rawBody: '{"name":"x"}', headers: { 'content-type': type } }))).toBe(
      'unsupported_media_type',
    )
  })

  it('takes a charset after the content type', async () => {
    const headers = { 'content-type': 'application/json; charset=utf-8' }
    expect(outcome(await post({ rawBody: '{"name":"x"}', headers }))).toBe(201)
  })

  it('refuses one byte more than the limit, with a length and without', async () => {
    const padded = (length: number) => `{"name":"x"}${' '.repeat(length - 12)}`
    expect(outcome(await post({ rawBody: padded(BODY_LIMIT_BYTES), headers: json }))).toBe(201)
    const over = padded(BODY_LIMIT_BYTES + 1)
    expect(outcome(await post({ rawBody: over, headers: json }))).toBe('payload_too_large')
    const chunked = new Blob([over]).stream()
    expect(outcome(await post({ rawBody: chunked, headers: json }))).toBe('payload_too_large')
  })

  it.each([
    ['not JSON', '{'],
    ['nested too deeply', `${'['.repeat(100_000)}${']'.repeat(100_000)}`],
    ['no object', '"name"'],
    ['null', 'null'],
  ])('refuses a body that is %s', async (_, rawBody) => {
    expect(outcome(await post({ rawBody, headers: json }))).toBe('invalid_request')
  })

  it('refuses what is not UTF-8', async () => {
    expect(outcome(await post({ rawBody: new Uint8Array([0x22, 0xff, 0x22]), headers: json }))).toBe(
      'invalid_request',
    )
  })

  it('says that a key cannot be used, rather than losing it', async () => {
    const problem = problemOf(await post({ rawBody: '{"name":"x","__proto__":{"a":1}}', headers: json }))
    expect(problem.errors).toEqual([{ path: '', message: expect.stringContaining('"__proto__"') }])
  })

  it('names the fields that are wrong, missing or unknown', async () => {
    const missing = problemOf(await post({}))
    expect(missing.errors).toMatchObject([{ path: 'name' }])
    const typo = problemOf(await post({ body: { name: 'x', desciption: 'y' } }))
    expect(typo.errors?.[0]?.message).toContain('desciption')
  })

  it('may be left out where no field is required', async () => {
    const poolId = await makePool(tenant)
    expect(outcome(await call('POST', `/api/v1/pools/${poolId}/drain`, { key }))).toBe(200)
  })

  it('is not looked at before the role is', async () => {
    const answer = await call('POST', '/api/v1/pools', {
      key: tenant.keys.viewer,
      rawBody: '{',
      headers: json,
    })
    expect(outcome(answer)).toBe('forbidden')
  })
})

/** One field of every item of a list, page after page. */
async function walk(path: string, field = 'id', limit = 2): Promise<string[]> {
  const seen: string[] = []
  let cursor: string | null = null
  do {
    const query = new URLSearchParams({ limit: String(limit), ...(cursor === null ? {} : { cursor }) })
    const page = ok(await call('GET', `${path}${path.includes('?') ? '&' : '?'}${query}`, { key })).body
    expect(page.items.length).toBeLessThanOrEqual(limit)
    seen.push(...page.items.map((item: Record<string, string>) => item[field]))
    cursor = page.next_cursor
  } while (cursor !== null)
  return seen
}

describe('pages', () => {
  it('walk every run once, newest first, and end', async () => {
    const environmentId = await makeEnvironment(tenant, await makePool(tenant))
    const made: string[] = []
    for (let i = 0; i < 5; i++) made.push(await makeRun(tenant, environmentId))
    const seen = await walk(`/api/v1/runs?environment_id=${environmentId}`)
    expect(seen).toEqual(made.reverse())
  })

  it.each([
    ['/api/v1/runs'],
    ['/api/v1/pools'],
    ['/api/v1/environments'],
    ['/api/v1/api-keys'],
    ['/api/v1/audit-events'],
  ])('of %s refuse a bad limit, an unknown cursor and an unknown parameter', async path => {
    for (const query of [
      'limit=0',
      'limit=201',
      'limit=x',
      'limit=1&limit=2',
      'cursor=abc',
      'cursor=%00',
      'page=2',
    ]) {
      expect(outcome(await call('GET', `${path}?${query}`, { key })), query).toBe('invalid_request')
    }
  })

  it('of runs refuse a status there is not', async () => {
    expect(outcome(await call('GET', '/api/v1/runs?status=done', { key }))).toBe('invalid_request')
  })

  it('of runs show only the status asked for', async () => {
    const environmentId = await makeEnvironment(tenant, await makePool(tenant))
    const queued = await makeRun(tenant, environmentId)
    const { body } = ok(
      await call('GET', `/api/v1/runs?environment_id=${environmentId}&status=queued`, { key }),
    )
    expect(body.items).toMatchObject([{ id: queued }])
    const none = ok(await call('GET', `/api/v1/runs?environment_id=${environmentId}&status=lost`, { key }))
    expect(none.body).toEqual({ items: [], next_cursor: null })
  })

  it('of runners walk every runner once, newest first', async () => {
    const poolId = await makePool(tenant)
    const made: string[] = []
    for (const name of ['a', 'b', 'c']) made.push((await makeRunner(tenant, poolId, name)).id)
    expect(await walk(`/api/v1/pools/${poolId}/runners`)).toEqual(made.reverse())
    const foreign = `/api/v1/pools/${poolId}/runners?cursor=${made[0]}`
    expect(outcome(await call('GET', foreign, { key }))).toBe('invalid_request')
  })

  it('of a run’s events are in the order things happened', async () => {
    const poolId = await makePool(tenant)
    const runId = await makeRun(tenant, await makeEnvironment(tenant, poolId))
    ok(await call('POST', `/api/v1/runs/${runId}/cancel`, { key }))
    await runDurableObjectAlarm(env.RUNNER_POOL.getByName(poolId))
    expect(await walk(`/api/v1/runs/${runId}/events`, 'type', 1)).toEqual(['queued', 'cancelled'])
  })

  it('of runs stop at 4 MiB, however many were asked for, and go on from there', async () => {
    const own = await makeTenant()
    const environmentId = await makeEnvironment(own, await makePool(own))
    const command = ['x'.repeat(60_000), '😀'.repeat(15_000), 'y'.repeat(60_000), 'z'.repeat(60_000)]
    const made: string[] = []
    for (let i = 0; i < 40; i++) made.push(await makeRun(own, environmentId, { command }))
    const seen: string[] = []
    for (let query = '?limit=200', pages = 0; ; pages++) {
      const { text, body } = ok(await call('GET', `/api/v1/runs${query}`, { key: own.keys.viewer }))
      expect(new TextEncoder().encode(text).length).toBeLessThan(4.1 * 1024 * 1024)
      seen.push(...body.items.map((run: { id: string }) => run.id))
      if (body.next_cursor === null) {
        expect(pages).toBe(2)
        break
      }
      query = `?limit=200&cursor=${body.next_cursor}`
    }
    expect(seen).toEqual(made.reverse())
  })

  it('of pools hold at most 50, whatever more is asked for', async () => {
    const own = await makeTenant()
    for (let i = 0; i < 51; i++) await makePool(own)
    const { body } = ok(await call('GET', '/api/v1/pools?limit=200', { key: own.keys.viewer }))
    expect(body.items).toHaveLength(50)
    const rest = `/api/v1/pools?limit=200&cursor=${body.next_cursor}`
    expect(ok(await call('GET', rest, { key: own.keys.viewer })).body).toMatchObject({
      items: [{}],
      next_cursor: null,
    })
  })
})

describe('an environment', () => {
  it('cannot point at another tenant’s pool, at creation or later', async () => {
    const other = await makeTenant()
    const foreign = await makePool(other)
    const body = { name: 'e', execution_target: 'self_hosted', pool_id: foreign }
    expect(outcome(await call('POST', '/api/v1/environments', { key, body }))).toBe('not_found')
    const mine = await makeEnvironment(tenant, await makePool(tenant))
    const change = { key, body: { pool_id: foreign } }
    expect(outcome(await call('PATCH', `/api/v1/environments/${mine}`, change))).toBe('not_found')
    const without = { key, body: { pool_id: null } }
    expect(outcome(await call('PATCH', `/api/v1/environments/${mine}`, without))).toBe('invalid_request')
  })
})

describe('settings', () => {
  it('answer every request with what is wrong, never with the value, while one is bad', async () => {
    const env = { SelfHosted__LeaseTtlSeconds: 'canary', OPERATOR_KEY: 'short' }
    for (const path of ['/healthz', '/api/v1/me', '/nope']) {
      const answer = await call('GET', path, { env })
      expect(outcome(answer)).toBe('overloaded')
      expect(answer.body.detail).toContain('SelfHosted__LeaseTtlSeconds')
      expect(answer.body.detail).toContain('OPERATOR_KEY')
      expect(answer.text).not.toContain('canary')
    }
  })
})

describe('rate limits', () => {
  const full = { limit: async () => ({ success: false }) }

  it('charge an address for refused credentials only', async () => {
    const env = { LIMIT_UNAUTHENTICATED: full }
    const refused = await call('GET', '/api/v1/me', { key: 'rubbish', env })
    expect(outcome(refused)).toBe('rate_limited')
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(outcome(await call('GET', '/api/v1/me', { key, env }))).toBe(200)
    expect(outcome(await call('GET', '/healthz', { env }))).toBe(200)
  })

  it('charge a key for its calls', async () => {
    const env = { LIMIT_KEY: full }
    expect(outcome(await call('GET', '/api/v1/me', { key, env }))).toBe('rate_limited')
  })

  it('are off when the setting says so, and a limiter that fails lets calls through', async () => {
    const off = { LIMIT_KEY: full, RateLimits__Enabled: 'false' }
    expect(outcome(await call('GET', '/api/v1/me', { key, env: off }))).toBe(200)
    const broken = { LIMIT_KEY: { limit: () => Promise.reject(new Error('gone')) } }
    expect(outcome(await call('GET', '/api/v1/me', { key, env: broken }))).toBe(200)
  })
})

describe('audit events', () => {
  it('say who did what to what, from where, newest first', async () => {
    const own = await makeTenant()
    const poolId = await makePool(own)
    await call('GET', '/api/v1/me', { key: own.keys.admin })
    const { body } = ok(await call('GET', '/api/v1/audit-events', { key: own.keys.admin }))
    expect(body.items.map((event: { action: string }) => event.action)).toEqual([
      'pool.created',
      'api_key.created',
      'api_key.created',
      'api_key.created',
      'tenant.created',
    ])
    expect(body.items[0]).toMatchObject({ target: poolId, address: '192.0.2.7' })
    expect(body.items[0].actor).toMatch(/^key_/)
  })

  it('tell the tenant of a revoked key that is still in use', async () => {
    const own = await makeTenant()
    const { key: viewer } = ok(await call('GET', '/api/v1/me', { key: own.keys.viewer })).body
    ok(await call('DELETE', `/api/v1/api-keys/${viewer.id}`, { key: own.keys.admin }))
    await call('GET', '/api/v1/me', { key: own.keys.viewer })
    const { body } = ok(await call('GET', '/api/v1/audit-events?limit=1', { key: own.keys.admin }))
    expect(body.items).toMatchObject([{ action: 'credential.refused', actor: viewer.id }])
  })

  it('are written once when a write fails or its reply is lost', async () => {
    for (const stores of [false, true]) {
      const own = await makeTenant()
      const DB = failingOnce(BINDINGS.DB, 'audit_events', stores)
      ok(await call('POST', '/api/v1/pools', { key: own.keys.admin, body: { name: 'p' }, env: { DB } }))
      const { body } = ok(await call('GET', '/api/v1/audit-events', { key: own.keys.admin }))
      const actions = body.items.map((event: { action: string }) => event.action)
      expect(actions.filter((action: string) => action === 'pool.created')).toHaveLength(1)
    }
  })

  it('that cannot be written fail no request', async () => {
    const poolId = await makePool(tenant)
    await BINDINGS.DB.prepare('ALTER TABLE audit_events RENAME TO hidden').run()
    try {
      expect(outcome(await call('POST', `/api/v1/pools/${poolId}/drain`, { key }))).toBe(200)
    } finally {
      await BINDINGS.DB.prepare('ALTER TABLE hidden RENAME TO audit_events').run()
    }
  })
})
