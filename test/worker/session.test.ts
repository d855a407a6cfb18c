import { createScheduledController } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { beforeAll, describe, expect, it } from 'vitest'
import { hashSecret } from '../../protocol/secrets.ts'
import worker from '../../worker/index.ts'
import { type Answer, type Ask, call, fetchRaw, ORIGIN, outcome, problemOf } from './client.ts'
import { cookieSetBy, makeKey, makeTenant, ok, signIn, type TestTenant } from './world.ts'

const PATH = '/api/v1/session'
const HOUR_MS = 3_600_000

let tenant: TestTenant
beforeAll(async () => {
  tenant = await makeTenant()
})

const session = (cookie: string | undefined) => call('GET', PATH, { cookie })
const signOut = (cookie: string | undefined) => call('DELETE', PATH, { cookie })
const post = (ask: Ask) => call('POST', PATH, { body: { api_key: tenant.keys.member }, ...ask })

async function audited(): Promise<[string, string, string][]> {
  const { items } = ok(await call('GET', '/api/v1/audit-events', { key: tenant.keys.admin })).body
  return items.map((one: Record<string, string>) => [one.action, one.actor, one.detail])
}

async function keyId(key: string): Promise<string> {
  return ok(await call('GET', '/api/v1/me', { key })).body.key.id
}

async function setEnd(cookie: string, at: number): Promise<void> {
  const hash = await hashSecret(cookie.split('=')[1] ?? '')
  await env.DB.prepare('UPDATE browser_sessions SET expires_at = ? WHERE hash = ?').bind(at, hash).run()
}

async function isStored(cookie: string): Promise<boolean> {
  const hash = await hashSecret(cookie.split('=')[1] ?? '')
  const row = await env.DB.prepare('SELECT 1 FROM browser_sessions WHERE hash = ?').bind(hash).first()
  return row !== null
}

describe('signing in', () => {
  it('gives a cookie that no script, no other host and no plain connection gets, for 12 hours', async () => {
    const answer = ok(await post({}))
    expect(answer.status).toBe(201)
    expect(answer.headers.get('set-cookie')).toMatch(
      /^__Host-certyn_session=cty_web_\w{49}; Max-Age=43200; Path=\/; HttpOnly; Secure; SameSite=Strict$/,
    )
    expect(answer.headers.get('cache-control')).toBe('no-store')
    const me = ok(await call('GET', '/api/v1/me', { key: tenant.keys.member })).body
    const { expires_at, ...rest } = answer.body
    expect({ ...rest, key: { ...rest.key, last_used_at: null } }).toEqual({
      ...me,
      artifact_retention_days: 30,
      key: { ...me.key, last_used_at: null },
    })
    expect(Date.parse(expires_at) - Date.now()).toBeGreaterThan(11 * HOUR_MS)
    expect(answer.text).not.toContain('cty_web')
    expect(ok(await session(cookieSetBy(answer))).body).toMatchObject({ expires_at, tenant: me.tenant })
  })

  it.each(['http://127.0.0.1:8787', 'http://localhost:8787', 'http://[::1]:8787'])(
    'gives a browser at %s a cookie of another name, which is not for secure connections only',
    async origin => {
      const at = (method: string, ask: Ask = {}) => fetchRaw(method, PATH, ask, origin)
      const answer = await at('POST', { body: { api_key: tenant.keys.viewer }, headers: { origin } })
      expect(answer.headers.get('set-cookie')).toMatch(
        /^certyn_session=cty_web_\w{49}; Max-Age=43200; Path=\/; HttpOnly; SameSite=Strict$/,
      )
      const cookie = answer.headers.get('set-cookie')?.split(';')[0] ?? ''
      expect((await at('GET', { headers: { cookie } })).status).toBe(200)
      expect((await at('GET', { headers: { cookie: `__Host-${cookie}` } })).status).toBe(401)
      expect((await at('DELETE', { headers: { cookie, origin: 'http://127.0.0.1:9999' } })).status).toBe(403)
      expect((await at('DELETE', { headers: { cookie, origin } })).status).toBe(204)
      expect((await at('GET', { headers: { cookie } })).status).toBe(401)
    },
  )

  it('is refused over plain HTTP from elsewhere, and taken from behind a proxy that ends TLS', async () => {
    const at = (headers: Record<string, string>) =>
      fetchRaw('POST', PATH, { body: { api_key: tenant.keys.viewer }, headers }, 'http://ci.internal:8787')
    expect((await at({})).status).toBe(403)
    const proxied = await at({ 'x-forwarded-proto': 'https', origin: 'https://ci.internal:8787' })
    expect(proxied.status).toBe(201)
    expect(proxied.headers.get('set-cookie')).toContain('; Secure')
  })

  it.each([
    ['a key nobody has', { api_key: `cty_key_${'0'.repeat(49)}` }, 'unauthenticated'],
    ['rubbish', { api_key: 'rubbish' }, 'unauthenticated'],
    ['no key', {}, 'invalid_request'],
    ['too long a key', { api_key: 'x'.repeat(1025) }, 'invalid_request'],
    ['a typo', { apikey: 'x' }, 'invalid_request'],
    ['the operator key', { api_key: env.OPERATOR_KEY }, 'forbidden'],
  ])('is refused with %s, and sets no cookie', async (_, body, code) => {
    const answer = await post({ body })
    expect(outcome(answer)).toBe(code)
    expect(answer.headers.get('set-cookie')).toBeNull()
  })

  it('is for a page of the control plane’s own, where a browser asks', async () => {
    const cookie = await signIn(tenant.keys.viewer)
    expect(outcome(await post({ headers: { origin: ORIGIN } }))).toBe(201)
    expect(outcome(await post({ headers: { origin: 'https://evil.example' } }))).toBe('forbidden')
    expect(outcome(await post({ headers: { origin: 'null' } }))).toBe('forbidden')
    expect(outcome(await post({ headers: { cookie } }))).toBe('forbidden')
  })

  it('ends the session that the browser had before', async () => {
    const before = await signIn(tenant.keys.viewer)
    const after = cookieSetBy(ok(await post({ cookie: before })))
    expect(outcome(await session(before))).toBe('unauthenticated')
    expect(ok(await session(after)).body.key.role).toBe('member')
  })

  it('ends no later than its key', async () => {
    const body = { name: 'short', role: 'viewer', expires_in_seconds: 600 }
    const { secret, expires_at } = ok(
      await call('POST', '/api/v1/api-keys', { key: tenant.keys.admin, body }),
    ).body
    const answer = ok(await post({ body: { api_key: secret } }))
    expect(answer.body.expires_at).toBe(expires_at)
    expect(Number(/Max-Age=(\d+)/.exec(answer.headers.get('set-cookie') ?? '')?.[1])).toBeLessThanOrEqual(600)
  })
})

describe('a session', () => {
  async function detail(answer: Promise<Answer>): Promise<string> {
    return problemOf(await answer).detail
  }

  it('says why it is none', async () => {
    expect(await detail(session(undefined))).toBe('You are not signed in.')
    const out = await signIn(tenant.keys.viewer)
    ok(await signOut(out))
    expect(await detail(session(out))).toContain('signed out')
    const expired = await signIn(tenant.keys.viewer)
    await setEnd(expired, Date.now())
    expect(await detail(session(expired))).toContain('session has expired')
    const key = await makeKey(tenant.keys.admin, 'viewer')
    const [revoked, id] = [await signIn(key), await keyId(key)]
    ok(await call('DELETE', `/api/v1/api-keys/${id}`, { key: tenant.keys.admin }))
    expect(await detail(session(revoked))).toContain('was revoked')
    expect(await detail(call('GET', '/api/v1/me', { cookie: revoked }))).toContain('was revoked')
  })

  it('is of a cookie alone: a key with the call does not make one', async () => {
    expect(outcome(await call('GET', PATH, { key: tenant.keys.admin }))).toBe('unauthenticated')
  })

  it('can be closed again and again, and only by a page of its own', async () => {
    const cookie = await signIn(tenant.keys.viewer)
    for (const headers of [{ origin: '' }, { origin: 'https://evil.example' }]) {
      expect(outcome(await call('DELETE', PATH, { cookie, headers }))).toBe('forbidden')
    }
    ok(await session(cookie))
    for (let i = 0; i < 2; i++) {
      const answer = await signOut(cookie)
      expect(answer.status).toBe(204)
      expect(answer.headers.get('set-cookie')).toMatch(/^__Host-certyn_session=; Max-Age=0; Path=\//)
    }
    expect((await signOut(undefined)).status).toBe(204)
    expect(await isStored(cookie)).toBe(false)
  })

  it('spends the limit of its key', async () => {
    const spent: string[] = []
    const LIMIT_KEY = {
      limit: async ({ key }: { key: string }) => ({ success: spent.push(key) < 3 }),
    }
    const key = await makeKey(tenant.keys.admin, 'viewer')
    const cookie = cookieSetBy(ok(await post({ body: { api_key: key }, env: { LIMIT_KEY } })))
    ok(await call('GET', '/api/v1/me', { cookie, env: { LIMIT_KEY } }))
    expect(outcome(await call('GET', PATH, { cookie, env: { LIMIT_KEY } }))).toBe('rate_limited')
    expect(outcome(await post({ body: { api_key: key }, env: { LIMIT_KEY } }))).toBe('rate_limited')
    expect(new Set(spent)).toEqual(new Set([await keyId(key)]))
  })

  it('charges the address for what is refused', async () => {
    let charged = 0
    const LIMIT_UNAUTHENTICATED = { limit: async () => ({ success: ++charged < 3 }) }
    const ask = { body: { api_key: 'rubbish' }, env: { LIMIT_UNAUTHENTICATED } }
    const ends = [await post(ask), await post(ask), await post(ask)].map(outcome)
    expect(ends).toEqual(['unauthenticated', 'unauthenticated', 'rate_limited'])
  })
})

it('signing in, signing out and what was refused are in the audit trail, under the key', async () => {
  const key = await makeKey(tenant.keys.admin, 'member')
  const id = await keyId(key)
  const cookie = await signIn(key)
  ok(await signOut(cookie))
  const second = await signIn(key)
  await setEnd(second, 1)
  expect(outcome(await call('GET', '/api/v1/me', { cookie: second }))).toBe('unauthenticated')
  const mine = (await audited()).filter(([, actor]) => actor === id)
  expect(mine).toEqual([
    ['credential.refused', id, expect.stringContaining('expired')],
    ['session.opened', id, ''],
    ['session.closed', id, ''],
    ['session.opened', id, ''],
  ])
})

it('the daily sweep forgets sessions a day after their end', async () => {
  const now = Date.now()
  const [old, recent, live] = [
    await signIn(tenant.keys.viewer),
    await signIn(tenant.keys.viewer),
    await signIn(tenant.keys.viewer),
  ]
  await setEnd(old, now - 25 * HOUR_MS)
  await setEnd(recent, now - 23 * HOUR_MS)
  await worker.scheduled(createScheduledController({ scheduledTime: new Date(now) }), env as never)
  expect([await isStored(old), await isStored(recent), await isStored(live)]).toEqual([false, true, true])
})
