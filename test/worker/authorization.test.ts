import { beforeAll, describe, expect, it } from 'vitest'
import { mintSecret } from '../../protocol/secrets.ts'
import type { Who } from '../../worker/callers.ts'
import type { Route } from '../../worker/http/route.ts'
import { mintId } from '../../worker/ids.ts'
import { ROUTES } from '../../worker/routes/all.ts'
import { BINDINGS, call, OPERATOR_KEY, outcome, problemOf } from './client.ts'
import {
  makeEnvironment,
  makeKey,
  makePool,
  makeRun,
  makeRunner,
  makeTenant,
  makeToken,
  ok,
  registration,
  syncBody,
  type TestRunner,
  type TestTenant,
} from './world.ts'

/**
 * Who may call what, written down a second time: a route that changes its mind, or has no row here, fails.
 * `body` is what a right call sends; `upgrade` makes it a websocket.
 */
interface Row {
  readonly who: Who
  readonly body?: (world: World) => unknown
  readonly upgrade?: true
}

const RUNNER = '/runner/v1/pools/{pool_id}/runners/{runner_id}'
const MATRIX: Record<string, Row> = {
  'post /api/v1/tenants': { who: 'operator', body: () => ({ slug: crypto.randomUUID(), name: 'new' }) },
  'get /api/v1/tenants': { who: 'operator' },
  'post /api/v1/tenants/{tenant_id}/api-keys': {
    who: 'operator',
    body: () => ({ name: 'k', role: 'viewer' }),
  },
  'get /api/v1/me': { who: 'viewer' },
  'post /api/v1/api-keys': { who: 'admin', body: () => ({ name: 'k', role: 'viewer' }) },
  'get /api/v1/api-keys': { who: 'admin' },
  'delete /api/v1/api-keys/{key_id}': { who: 'admin' },
  'post /api/v1/pools': { who: 'admin', body: () => ({ name: 'p' }) },
  'get /api/v1/pools': { who: 'viewer' },
  'get /api/v1/pools/{pool_id}': { who: 'viewer' },
  'patch /api/v1/pools/{pool_id}': { who: 'admin' },
  'delete /api/v1/pools/{pool_id}': { who: 'admin' },
  'post /api/v1/pools/{pool_id}/drain': { who: 'admin' },
  'post /api/v1/pools/{pool_id}/resume': { who: 'admin' },
  'post /api/v1/pools/{pool_id}/registration-tokens': { who: 'admin' },
  'get /api/v1/pools/{pool_id}/registration-tokens': { who: 'admin' },
  'delete /api/v1/pools/{pool_id}/registration-tokens/{token_id}': { who: 'admin' },
  'get /api/v1/pools/{pool_id}/runners': { who: 'viewer' },
  'get /api/v1/pools/{pool_id}/runners/{runner_id}': { who: 'viewer' },
  'post /api/v1/pools/{pool_id}/runners/{runner_id}/drain': { who: 'admin' },
  'post /api/v1/pools/{pool_id}/runners/{runner_id}/resume': { who: 'admin' },
  'delete /api/v1/pools/{pool_id}/runners/{runner_id}': { who: 'admin' },
  'post /api/v1/environments': {
    who: 'admin',
    body: ({ poolId }) => ({ name: 'e', execution_target: 'self_hosted', pool_id: poolId }),
  },
  'get /api/v1/environments': { who: 'viewer' },
  'get /api/v1/environments/{environment_id}': { who: 'viewer' },
  'patch /api/v1/environments/{environment_id}': { who: 'admin' },
  'delete /api/v1/environments/{environment_id}': { who: 'admin' },
  'post /api/v1/environments/{environment_id}/runs': { who: 'member' },
  'get /api/v1/runs': { who: 'viewer' },
  'get /api/v1/runs/{run_id}': { who: 'viewer' },
  'post /api/v1/runs/{run_id}/cancel': { who: 'member' },
  'get /api/v1/runs/{run_id}/events': { who: 'viewer' },
  'get /api/v1/runs/{run_id}/placement': { who: 'viewer' },
  'get /api/v1/audit-events': { who: 'admin' },
  'post /runner/v1/register': {
    who: 'public',
    body: ({ token, poolId }) => registration({ token, poolId, name: 'another' }),
  },
  [`post ${RUNNER}/sync`]: { who: 'runner', body: ({ runner }) => syncBody(runner) },
  [`post ${RUNNER}/credential`]: { who: 'runner' },
  [`post ${RUNNER}/deregister`]: { who: 'runner' },
  [`get ${RUNNER}/doorbell`]: { who: 'runner', upgrade: true },
  'get /healthz': { who: 'public' },
  'get /openapi.json': { who: 'public' },
  'get /docs': { who: 'public' },
}

interface World {
  readonly tenant: TestTenant
  readonly poolId: string
  readonly runner: TestRunner
  readonly token: string
  readonly ids: Readonly<Record<string, string>>
}

const nameOf = (route: Route) => `${route.method} ${route.path}`

async function makeWorld(route: Route): Promise<World> {
  const tenant = await makeTenant()
  const poolId = await makePool(tenant)
  const runner = await makeRunner(tenant, poolId)
  const environmentId = await makeEnvironment(tenant, poolId)
  const token = await makeToken(tenant, poolId)
  const { key } = ok(await call('GET', '/api/v1/me', { key: tenant.keys.viewer })).body
  const runId = await makeRun(tenant, environmentId)
  // Only an empty pool that nothing uses can be deleted.
  const bare = nameOf(route) === 'delete /api/v1/pools/{pool_id}' ? await makePool(tenant) : poolId
  const ids = {
    tenant_id: tenant.id,
    key_id: key.id,
    pool_id: bare,
    token_id: token.id,
    runner_id: runner.id,
    environment_id: environmentId,
    run_id: runId,
  }
  return { tenant, poolId, runner, token: token.secret, ids }
}

function fill(route: Route, ids: Readonly<Record<string, string>>): string {
  return route.path.replaceAll(/\{([^}]+)\}/g, (_, name: string) => {
    const id = ids[name]
    if (id === undefined) throw new Error(`the test world has no ${name}`)
    return id
  })
}

const hasIds = (route: Route) => route.path.includes('{')

function absentIds(): Record<string, string> {
  return {
    tenant_id: mintId('tenant'),
    key_id: mintId('apiKey'),
    pool_id: mintId('pool'),
    token_id: mintId('registrationToken'),
    runner_id: mintId('runner'),
    environment_id: mintId('environment'),
    run_id: mintId('run'),
  }
}

async function ask(route: Route, world: World, key: string | undefined, ids = world.ids) {
  const row = MATRIX[nameOf(route)]
  return await call(route.method.toUpperCase(), fill(route, ids), {
    key,
    body: row?.body?.(world),
    headers: row?.upgrade ? { upgrade: 'websocket' } : {},
  })
}

function rightKey(route: Route, world: World): string | undefined {
  switch (route.who) {
    case 'public':
      return undefined
    case 'operator':
      return OPERATOR_KEY
    case 'runner':
      return world.runner.credential
    default:
      return world.tenant.keys[route.who]
  }
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
        expect(outcome(await ask(route, world, key))).toBe('forbidden')
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

  if (hasIds(route) && route.who !== 'public') {
    it('answers a malformed id with 404, whatever else is wrong', async () => {
      const malformed = Object.fromEntries(Object.keys(world.ids).map(id => [id, 'not-an-id']))
      expect(outcome(await ask(route, world, rightKey(route, world), malformed))).toBe('not_found')
    })
  }

  if (hasIds(route) && (route.who === 'viewer' || route.who === 'member' || route.who === 'admin')) {
    const role = route.who
    it('answers for another tenant’s ids exactly as for absent ones', async () => {
      const other = await makeTenant()
      await makePool(other)
      const foreign = await ask(route, world, other.keys[role])
      const absent = await ask(route, world, other.keys[role], absentIds())
      expect(outcome(foreign)).toBe('not_found')
      expect({ ...problemOf(foreign), request_id: '' }).toEqual({ ...problemOf(absent), request_id: '' })
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
