import { runDurableObjectAlarm } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { beforeAll, describe, expect, inject, it } from 'vitest'
import { LiveLink } from '../../protocol/live.ts'
import { type Answer, type Ask, call, ORIGIN, outcome, problemOf } from './client.ts'
import { dialStream, type LiveRun, liveRun, TestViewer } from './stream-sockets.ts'
import {
  cookieSetBy,
  makePool,
  makeRunner,
  makeTenant,
  ok,
  runnerPath,
  syncBody,
  type TestTenant,
} from './world.ts'

const TEAM = inject('accessTeam')
const AUDIENCE = '4714c1358e65fe4b408ad6d432a5f878f08194bdb4752441fd56faefa9b2b6f2'
const ACCESS = { Access__TeamDomain: TEAM, Access__Audience: AUDIENCE }

interface Key {
  readonly kid: string
  readonly privateKey: CryptoKey
  readonly jwk: object
}

async function makeKey(kid: string): Promise<Key> {
  const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true })
  return { kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: 'RS256', use: 'sig' } }
}

async function publish(certs: { keys: Key[] } | { status: number; body: string }): Promise<void> {
  const answer =
    'keys' in certs ? { status: 200, body: JSON.stringify({ keys: certs.keys.map(key => key.jwk) }) } : certs
  await fetch(TEAM, { method: 'PUT', body: JSON.stringify(answer) })
}

const timesFetched = async () => Number(await (await fetch(TEAM)).text())

interface Claims {
  readonly email?: unknown
  readonly issuer?: string
  readonly audience?: string | string[]
  readonly expiresIn?: number
  readonly startsIn?: number
}

/** A token as Access makes them, but for what the test says. */
async function vouch(key: Key, claims: Claims = {}): Promise<string> {
  const now = Math.floor(Date.now() / 1000)
  const { email = 'ann@acme.example' } = claims
  return await new SignJWT({ email, type: 'app', identity_nonce: 'x', country: 'DE' })
    .setProtectedHeader({ alg: 'RS256', kid: key.kid })
    .setIssuer(claims.issuer ?? TEAM)
    .setAudience(claims.audience ?? [AUDIENCE])
    .setSubject(crypto.randomUUID())
    .setIssuedAt(now)
    .setNotBefore(now + (claims.startsIn ?? 0))
    .setExpirationTime(now + (claims.expiresIn ?? 3600))
    .sign(key.privateKey)
}

function base64url(value: unknown): string {
  return btoa(JSON.stringify(value)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}

let key: Key
let stranger: Key
let tenant: TestTenant
beforeAll(async () => {
  ;[key, stranger] = await Promise.all([makeKey('team-key'), makeKey('stranger')])
  tenant = await makeTenant()
  await putMember(tenant, 'ann@acme.example', 'member')
  await publish({ keys: [key] })
})

async function putMember(of: TestTenant, email: string, role: string): Promise<string> {
  return ok(await call('PUT', '/api/v1/members', { key: of.keys.admin, body: { email, role } })).body.id
}

function signInWith(assertion: string | undefined, ask: Ask & { tenant?: string } = {}): Promise<Answer> {
  return call('POST', '/api/v1/session', {
    env: ACCESS,
    body: ask.tenant === undefined ? {} : { tenant: ask.tenant },
    ...ask,
    headers: {
      origin: ORIGIN,
      ...(assertion !== undefined && { 'cf-access-jwt-assertion': assertion }),
      ...ask.headers,
    },
  })
}

const me = (cookie: string) => call('GET', '/api/v1/me', { cookie })

describe('whoever Cloudflare Access vouches for', () => {
  it('is signed in as the member with that address', async () => {
    const answer = ok(await signInWith(await vouch(key, { email: 'Ann@Acme.Example' })))
    expect(answer.status).toBe(201)
    expect(answer.body).toMatchObject({
      tenant: { slug: tenant.slug },
      key: { id: expect.stringMatching(/^mem_/), name: 'ann@acme.example', role: 'member', expires_at: null },
    })
    const cookie = cookieSetBy(answer)
    expect(ok(await me(cookie)).body.key).toEqual(answer.body.key)
    expect(ok(await call('GET', '/api/v1/session', { cookie })).body.expires_at).toBe(answer.body.expires_at)
    expect(outcome(await call('POST', '/api/v1/pools', { cookie, body: { name: 'p' } }))).toBe('forbidden')
  })

  it.each<[string, string, (key: Key) => Promise<string>]>([
    ['is for another application', 'unauthenticated', key => vouch(key, { audience: ['another'] })],
    ['is for none', 'unauthenticated', key => vouch(key, { audience: [] })],
    ['is of another team', 'unauthenticated', key => vouch(key, { issuer: 'https://evil.example' })],
    ['has expired', 'unauthenticated', key => vouch(key, { expiresIn: -60 })],
    ['is not valid yet', 'unauthenticated', key => vouch(key, { startsIn: 600 })],
    ['is signed with a key the team does not have', 'unauthenticated', () => vouch(stranger)],
    [
      'is signed with another key under the name of the team’s',
      'unauthenticated',
      () => vouch({ ...stranger, kid: 'team-key' }),
    ],
    ['names no address', 'unauthenticated', key => vouch(key, { email: null })],
    ['names no valid address', 'unauthenticated', key => vouch(key, { email: 'ann' })],
    ['names somebody who is no member', 'forbidden', key => vouch(key, { email: 'bob@acme.example' })],
    ['is no token', 'unauthenticated', async () => 'rubbish'],
    [
      'is not signed at all',
      'unauthenticated',
      async key => `${base64url({ alg: 'none', kid: key.kid })}.${(await vouch(key)).split('.')[1]}.`,
    ],
    [
      'is signed with the public key as if it were a secret',
      'unauthenticated',
      async key =>
        await new SignJWT({ email: 'ann@acme.example' })
          .setProtectedHeader({ alg: 'HS256', kid: key.kid })
          .setIssuer(TEAM)
          .setAudience(AUDIENCE)
          .setExpirationTime('1h')
          .sign(new TextEncoder().encode(JSON.stringify(key.jwk))),
    ],
    [
      'was changed after it was signed',
      'unauthenticated',
      async key => {
        const [header, payload, signature] = (await vouch(key)).split('.')
        const claims = { ...JSON.parse(atob(payload ?? '')), email: 'root@acme.example' }
        return `${header}.${base64url(claims)}.${signature}`
      },
    ],
  ])('is not, when the token %s', async (_, code, token) => {
    await putMember(tenant, 'root@acme.example', 'admin')
    const answer = await signInWith(await token(key))
    expect(outcome(answer)).toBe(code)
    expect(answer.headers.get('set-cookie')).toBeNull()
  })

  it('is not, when there is no token, none is looked for, or another page asks', async () => {
    const good = await vouch(key)
    expect(outcome(await signInWith(undefined))).toBe('unauthenticated')
    expect(outcome(await signInWith(good, { env: {} }))).toBe('invalid_request')
    for (const origin of ['https://evil.example', 'null', '']) {
      expect(outcome(await signInWith(good, { headers: { origin } })), origin).toBe('forbidden')
    }
    const headers = { 'cf-access-jwt-assertion': good }
    const fromNowhere = await call('POST', '/api/v1/session', { env: ACCESS, body: {}, headers })
    expect(outcome(fromNowhere)).toBe('forbidden')
  })

  it('names the tenant where there are several, and is told of them', async () => {
    const [one, two, elsewhere] = [await makeTenant(), await makeTenant(), await makeTenant()]
    await putMember(one, 'sam@acme.example', 'viewer')
    await putMember(two, 'sam@acme.example', 'admin')
    const token = await vouch(key, { email: 'sam@acme.example' })
    const { code, detail } = problemOf(await signInWith(token))
    expect(code).toBe('conflict')
    expect(detail).toContain(one.slug)
    expect(detail).toContain(two.slug)
    expect(detail).not.toContain(elsewhere.slug)
    const answer = ok(await signInWith(token, { tenant: two.slug }))
    expect(answer.body).toMatchObject({ tenant: { id: two.id }, key: { role: 'admin' } })
    expect(outcome(await signInWith(token, { tenant: elsewhere.slug }))).toBe('forbidden')
    expect(outcome(await signInWith(token, { tenant: 'no such' }))).toBe('invalid_request')
  })
})

describe('a member', () => {
  it('has the new role, or none, from the next call on, and another id when back', async () => {
    const id = await putMember(tenant, 'kim@acme.example', 'viewer')
    const cookie = cookieSetBy(ok(await signInWith(await vouch(key, { email: 'kim@acme.example' }))))
    const createPool = () => call('POST', '/api/v1/pools', { cookie, body: { name: 'p' } })
    expect(outcome(await createPool())).toBe('forbidden')
    expect(await putMember(tenant, 'KIM@acme.example', 'admin')).toBe(id)
    expect(outcome(await createPool())).toBe(201)
    await putMember(tenant, 'kim@acme.example', 'viewer')
    expect(outcome(await createPool())).toBe('forbidden')
    ok(await me(cookie))
    const remove = () =>
      call('DELETE', '/api/v1/members', { key: tenant.keys.admin, body: { email: 'Kim@acme.example' } })
    expect((await remove()).status).toBe(204)
    expect(problemOf(await me(cookie)).detail).toContain('was removed')
    expect(outcome(await remove())).toBe('not_found')
    expect(await putMember(tenant, 'kim@acme.example', 'viewer')).not.toBe(id)
    expect(outcome(await me(cookie))).toBe('unauthenticated')
  })

  it('is listed for admins of the tenant alone, page by page, and audited by address', async () => {
    const mine = await makeTenant()
    const emails = ['a@x.example', 'b@x.example', 'c@x.example']
    for (const email of emails) await putMember(mine, email, 'viewer')
    await putMember(mine, 'b@x.example', 'member')
    await putMember(mine, 'b@x.example', 'member')
    const list = async (query: string) =>
      ok(await call('GET', `/api/v1/members${query}`, { key: mine.keys.admin })).body
    const first = await list('?limit=2')
    const second = await list(`?limit=2&cursor=${first.next_cursor}`)
    const listed = [...first.items, ...second.items].map(({ email, role }) => `${email} ${role}`)
    expect(listed).toEqual(['c@x.example viewer', 'b@x.example member', 'a@x.example viewer'])
    expect(second.next_cursor).toBeNull()
    const other = await makeTenant()
    expect(ok(await call('GET', '/api/v1/members', { key: other.keys.admin })).body.items).toEqual([])
    const body = { email: 'a@x.example' }
    expect(outcome(await call('DELETE', '/api/v1/members', { key: other.keys.admin, body }))).toBe(
      'not_found',
    )
    const { items } = ok(await call('GET', '/api/v1/audit-events', { key: mine.keys.admin })).body
    const changes = items.flatMap((one: Record<string, string>) =>
      one.action?.startsWith('member.') ? [`${one.action} ${one.detail}`] : [],
    )
    expect(changes).toEqual([
      'member.role_changed b@x.example member',
      'member.added c@x.example viewer',
      'member.added b@x.example viewer',
      'member.added a@x.example viewer',
    ])
  })

  it.each([
    '',
    'ann',
    'ann@',
    '@x.example',
    'a b@x.example',
    `${'x'.repeat(250)}@x.example`,
    'ann@x\n.example',
  ])('needs an address: "%s" is none', async email => {
    const body = { email, role: 'viewer' }
    expect(outcome(await call('PUT', '/api/v1/members', { key: tenant.keys.admin, body }))).toBe(
      'invalid_request',
    )
  })
})

describe('a member who watches', () => {
  async function watch(live: LiveRun, cookie: string, mode: 'view' | 'control'): Promise<TestViewer> {
    const path = `/api/v1/runs/${live.runId}/viewer-tickets`
    const { ticket } = ok(await call('POST', path, { cookie, body: { mode } })).body
    return new TestViewer(await dialStream(live.runId, ticket))
  }

  async function memberOf(
    live: LiveRun,
    role: string,
  ): Promise<{ id: string; email: string; cookie: string }> {
    const email = `${crypto.randomUUID()}@acme.example`
    const id = await putMember(live.tenant, email, role)
    return { id, email, cookie: cookieSetBy(ok(await signInWith(await vouch(key, { email })))) }
  }

  it('is cut off when removed, and when given another role; a viewer of another stays', async () => {
    const live = await liveRun()
    const [ann, bob] = [await memberOf(live, 'member'), await memberOf(live, 'viewer')]
    const stays = await watch(live, bob.cookie, 'view')
    const controls = await watch(live, ann.cookie, 'control')
    await putMember(live.tenant, ann.email, 'viewer')
    expect(await controls.close()).toBe(4401)
    const views = await watch(live, ann.cookie, 'view')
    const refused = await call('POST', `/api/v1/runs/${live.runId}/viewer-tickets`, {
      cookie: ann.cookie,
      body: { mode: 'control' },
    })
    expect(outcome(refused)).toBe('forbidden')
    ok(await call('DELETE', '/api/v1/members', { key: live.tenant.keys.admin, body: { email: ann.email } }))
    expect(await views.close()).toBe(4401)
    expect(stays.closed).toBeNull()
  })

  it('is found at the relay’s next look when the notice was lost', async () => {
    const live = await liveRun()
    const [ann, bob] = [await memberOf(live, 'member'), await memberOf(live, 'member')]
    const [gone, stays] = [await watch(live, ann.cookie, 'view'), await watch(live, bob.cookie, 'view')]
    await runDurableObjectAlarm(env.SESSION_RELAY.getByName(live.sessionId))
    expect([gone.closed, stays.closed]).toEqual([null, null])
    await env.DB.prepare('DELETE FROM members WHERE id = ?').bind(ann.id).run()
    await runDurableObjectAlarm(env.SESSION_RELAY.getByName(live.sessionId))
    expect(await gone.close()).toBe(4401)
    expect(stays.closed).toBeNull()
  })

  it('makes links that say who made them', async () => {
    const live = await liveRun()
    const { id, cookie } = await memberOf(live, 'member')
    const path = `/api/v1/runs/${live.runId}/live-links`
    const body = { mode: 'view', expires_in_seconds: 60, max_viewers: 1 }
    ok(await call('POST', path, { cookie, body }))
    const { items } = ok(await call('GET', path, { cookie })).body
    expect(items.map((link: unknown) => LiveLink.parse(link).created_by)).toEqual([id])
  })
})

describe('the keys of the team', () => {
  it('are fetched once for many, and not again for whatever name a token gives its key', async () => {
    const bindings = { ...ACCESS }
    const next = await makeKey('next-key')
    await publish({ keys: [key] })
    for (let i = 0; i < 5; i++) ok(await signInWith(await vouch(key), { env: bindings }))
    expect(await timesFetched()).toBe(1)
    expect(outcome(await signInWith(await vouch(next), { env: bindings }))).toBe('unauthenticated')
    await publish({ keys: [next, key] })
    // An isolate that has just fetched them does not fetch them again for whatever name it is told.
    expect(outcome(await signInWith(await vouch(next), { env: bindings }))).toBe('unauthenticated')
    expect(await timesFetched()).toBe(0)
    ok(await signInWith(await vouch(next), { env: { ...ACCESS } }))
  })

  it.each<[string, () => Promise<Record<string, string>>]>([
    [
      'an error',
      async () => {
        await publish({ status: 500, body: 'oops' })
        return ACCESS
      },
    ],
    [
      'no keys at all',
      async () => {
        await publish({ status: 200, body: '<html>' })
        return ACCESS
      },
    ],
    ['nothing', async () => ({ ...ACCESS, Access__TeamDomain: 'http://127.0.0.1:1' })],
  ])('that are answered with %s make it 503, and the next try succeeds', async (_, breakTeam) => {
    const bindings = await breakTeam()
    const token = await vouch(key, { issuer: bindings.Access__TeamDomain ?? '' })
    const answer = await signInWith(token, { env: { ...bindings } })
    expect(outcome(answer)).toBe('overloaded')
    expect(answer.headers.get('retry-after')).not.toBeNull()
    await publish({ keys: [key] })
    ok(await signInWith(await vouch(key)))
  })
})

it('a runner’s calls do not look at what Access says', async () => {
  const runner = await makeRunner(tenant, await makePool(tenant))
  await publish({ keys: [key] })
  const ask = { env: { ...ACCESS }, headers: { 'cf-access-jwt-assertion': await vouch(key) } }
  const path = runnerPath(runner, 'sync')
  ok(await call('POST', path, { ...ask, key: runner.credential, body: syncBody(runner) }))
  expect(outcome(await call('POST', path, { ...ask, body: syncBody(runner, 2) }))).toBe('unauthenticated')
  expect(outcome(await call('GET', '/api/v1/me', ask))).toBe('unauthenticated')
  expect(await timesFetched()).toBe(0)
})

it('nothing of a token is kept', async () => {
  const token = await vouch(key)
  ok(await signInWith(token))
  const { results } = await env.DB.prepare('SELECT * FROM browser_sessions').all()
  const { results: audit } = await env.DB.prepare('SELECT * FROM audit_events').all()
  const [, payload = '-', signature = '-'] = token.split('.')
  expect(JSON.stringify([results, audit])).not.toContain(payload)
  expect(JSON.stringify([results, audit])).not.toContain(signature)
})
