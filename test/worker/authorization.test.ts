import { beforeAll, describe, expect, it } from 'vitest'
import type { Role } from '../../protocol/admin-api.ts'
import { hashSecret, mintSecret } from '../../protocol/secrets.ts'
import type { Route } from '../../worker/http/route.ts'
import { mintId } from '../../worker/ids.ts'
import { ROUTES } from '../../worker/routes/all.ts'
import { type Ask, BINDINGS, call, OPERATOR_KEY, ORIGIN, outcome, problemOf } from './client.ts'
import { absentIds, fill, hasIds, MATRIX, makeWorld, nameOf, rightKey, type World } from './matrix.ts'
import { makeKey, makePool, makeRunner, makeTenant, ok, signIn, type TestTenant } from './world.ts'

type Credentials = Pick<Ask, 'key' | 'cookie' | 'headers'>

async function ask(route: Route, world: World, key: string | undefined, ids = world.ids) {
  return await askAs(route, world, { key }, ids)
}

async function askAs(route: Route, world: World, credentials: Credentials, ids = world.ids) {
  const row = MATRIX[nameOf(route)]
  return await call(route.method.toUpperCase(), fill(route, ids) + (row?.query ?? ''), {
    ...credentials,
    body: row?.body?.(world),
    ...(row?.rawBody && { rawBody: row.rawBody }),
    headers: {
      ...(row?.rawBody && { 'content-length': String(row.rawBody.length) }),
      ...(row?.upgrade && { upgrade: 'websocket' }),
      ...(await row?.headers?.(world)),
      ...credentials.headers,
    },
  })
}

function malformedIds(): Record<string, string> {
  return Object.fromEntries(Object.keys(absentIds()).map(name => [name, 'not-an-id']))
}

const FOREIGN_ORIGINS = [
  undefined,
  '',
  'null',
  'https://evil.example',
  `${ORIGIN}.evil.example`,
  `${ORIGIN}:8443`,
  ORIGIN.replace('https:', 'http:'),
]

/** Cookies that let nobody in, each with what is wrong with it. */
async function deadCookies(tenant: TestTenant, role: Role): Promise<[string, string | undefined][]> {
  const good = await signIn(tenant.keys[role])
  const signedOut = await signIn(tenant.keys[role])
  ok(await call('DELETE', '/api/v1/session', { cookie: signedOut }))
  const expired = await signIn(tenant.keys[role])
  await BINDINGS.DB.prepare('UPDATE browser_sessions SET expires_at = 1 WHERE hash = ?')
    .bind(await hashSecret(expired.split('=')[1] ?? ''))
    .run()
  const key = await makeKey(tenant.keys.admin, role)
  const revoked = await signIn(key)
  const { id } = ok(await call('GET', '/api/v1/me', { key })).body.key
  ok(await call('DELETE', `/api/v1/api-keys/${id}`, { key: tenant.keys.admin }))
  return [
    ['none', undefined],
    ['another', 'theme=dark'],
    ['malformed', good.slice(0, -1)],
    ['unknown', `__Host-certyn_session=${mintSecret('browserSession')}`],
    ['a key in it', `__Host-certyn_session=${tenant.keys[role]}`],
    ['the name for plain HTTP', good.replace('__Host-', '')],
    ['signed out', signedOut],
    ['expired', expired],
    ['of a revoked key', revoked],
  ]
}

const ROLES_BELOW = { viewer: [], member: ['viewer'], admin: ['viewer', 'member'] } as const

it('has a row for every route, and no row without one', () => {
  expect(ROUTES.map(nameOf).sort()).toEqual(Object.keys(MATRIX).sort())
})

describe.each(ROUTES.map(route => [nameOf(route), route] as const))('%s', (name, route) => {
  let world: World
  beforeAll(async () => {
    world = await makeWorld(route)
  })

  it('is for whom the matrix says', () => {
    expect(route.who).toBe(MATRIX[name]?.who)
  })

  if (route.who !== 'public') {
    it('answers 401 to no credential, a malformed one, and one nobody has', async () => {
      const good = mintSecret(route.who === 'runner' ? 'runnerCredential' : 'apiKey')
      const malformed = good.slice(0, -1) + (good.endsWith('0') ? '1' : '0')
      for (const key of [undefined, malformed, good, 'x', 'Bearer', good.repeat(40)]) {
        expect(outcome(await ask(route, world, key)), key).toBe('unauthenticated')
      }
    })

    it('answers 401 to a credential of another kind', async () => {
      const other = route.who === 'runner' ? world.tenant.keys.admin : world.runner.credential
      expect(outcome(await ask(route, world, other))).toBe('unauthenticated')
      expect(outcome(await ask(route, world, world.token))).toBe('unauthenticated')
    })
  }

  if (route.who !== 'public' && route.who !== 'operator') {
    it('is not opened by the operator key', async () => {
      expect(outcome(await ask(route, world, OPERATOR_KEY))).toBe('forbidden')
    })
  }

  if (route.who === 'operator') {
    it('is not opened by any tenant key', async () => {
      for (const key of Object.values(world.tenant.keys)) {
        expect(outcome(await ask(route, world, key))).toBe('unauthenticated')
      }
    })
  }

  if (route.who === 'viewer' || route.who === 'member' || route.who === 'admin') {
    const role = route.who
    it('answers 401 to a revoked and to an expired key', async () => {
      const revoked = await makeKey(world.tenant.keys.admin, role)
      const { key } = ok(await call('GET', '/api/v1/me', { key: revoked })).body
      ok(await call('DELETE', `/api/v1/api-keys/${key.id}`, { key: world.tenant.keys.admin }))
      expect(outcome(await ask(route, world, revoked))).toBe('unauthenticated')

      const expired = await makeKey(world.tenant.keys.admin, role)
      const { key: second } = ok(await call('GET', '/api/v1/me', { key: expired })).body
      await BINDINGS.DB.prepare('UPDATE api_keys SET expires_at = 1 WHERE id = ?').bind(second.id).run()
      expect(outcome(await ask(route, world, expired))).toBe('unauthenticated')
    })

    it.each(ROLES_BELOW[role].map(lower => [lower]))('answers 403 to the role %s', async lower => {
      expect(outcome(await ask(route, world, world.tenant.keys[lower]))).toBe('forbidden')
    })
  }

  if (route.who === 'runner' || route.who === 'operator') {
    it('is not opened by the cookie of a browser', async () => {
      const cookie = await signIn(world.tenant.keys.admin)
      expect(outcome(await askAs(route, world, { cookie }))).toBe('unauthenticated')
    })
  }

  if (route.who === 'viewer' || route.who === 'member' || route.who === 'admin') {
    const role = route.who
    const unsafe = route.method !== 'get'

    it('answers 401 to a cookie that is malformed, unknown, signed out, expired, or of a revoked key', async () => {
      for (const [what, cookie] of await deadCookies(world.tenant, role)) {
        expect(outcome(await askAs(route, world, { cookie })), what).toBe('unauthenticated')
      }
    })

    it('takes no cookie of a page that is not its own, where it changes anything', async () => {
      const cookie = await signIn(world.tenant.keys[role])
      // Those that may not call find out nothing; those that may would change something of this world.
      const ids = hasIds(route) ? malformedIds() : world.ids
      for (const origin of FOREIGN_ORIGINS) {
        const headers = { cookie, ...(origin !== undefined && { origin }) }
        const answer = await askAs(route, world, { headers }, ids)
        const expected = unsafe ? 'forbidden' : hasIds(route) ? 'not_found' : 200
        expect(outcome(answer), origin).toBe(expected)
      }
    })

    it('answers the cookie of the right role, and sends that of a lower one away', async () => {
      for (const lower of ROLES_BELOW[role]) {
        const cookie = await signIn(world.tenant.keys[lower])
        expect(outcome(await askAs(route, world, { cookie }))).toBe('forbidden')
      }
      const cookie = await signIn(world.tenant.keys[role])
      const answer = await askAs(route, world, { cookie }, hasIds(route) ? malformedIds() : world.ids)
      expect(outcome(answer)).toBe(hasIds(route) ? 'not_found' : route.documented.statuses[0])
      const headers = { authorization: 'Bearer rubbish' }
      expect(outcome(await askAs(route, world, { cookie, headers }))).toBe('unauthenticated')
    })
  }

  if (hasIds(route) && route.who !== 'public') {
    it('answers a malformed id with 404, whatever else is wrong', async () => {
      expect(outcome(await ask(route, world, rightKey(route, world), malformedIds()))).toBe('not_found')
    })
  }

  if (hasIds(route) && (route.who === 'viewer' || route.who === 'member' || route.who === 'admin')) {
    const role = route.who
    it('answers for another tenant’s ids exactly as for absent and malformed ones', async () => {
      const other = await makeTenant()
      await makePool(other)
      const foreign = await ask(route, world, other.keys[role])
      expect(outcome(foreign)).toBe('not_found')
      const cookie = await signIn(other.keys[role])
      expect(outcome(await askAs(route, world, { cookie }))).toBe('not_found')
      for (const ids of [absentIds(), malformedIds()]) {
        const absent = await ask(route, world, other.keys[role], ids)
        expect({ ...problemOf(foreign), request_id: '' }).toEqual({ ...problemOf(absent), request_id: '' })
      }
    })

    it('answers 404 for own ids under another pool', async () => {
      if (!route.path.includes('{pool_id}/')) return
      if (!/token_id|runner_id/.test(route.path)) return
      const elsewhere = { ...world.ids, pool_id: await makePool(world.tenant) }
      expect(outcome(await ask(route, world, world.tenant.keys[role], elsewhere))).toBe('not_found')
    })
  }

  if (route.who === 'runner') {
    it('answers 401 to another runner, and 404 where there is no pool', async () => {
      const stranger = await makeRunner(world.tenant, world.poolId, 'stranger')
      expect(outcome(await ask(route, world, stranger.credential))).toBe('unauthenticated')
      const elsewhere = { ...world.ids, pool_id: mintId('pool') }
      expect(outcome(await ask(route, world, world.runner.credential, elsewhere))).toBe('not_found')
    })
  }

  it('answers the right credential', async () => {
    const answer = await ask(route, world, rightKey(route, world))
    expect(answer.status, answer.text).toBeLessThan(300)
    answer.webSocket?.accept()
    answer.webSocket?.close()
  })
})
