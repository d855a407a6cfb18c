import { beforeAll, describe, expect, it } from 'vitest'
import { ROUTES } from '../../worker/routes/all.ts'
import { call, outcome } from './client.ts'
import {
  makeEnvironment,
  makeLink,
  makePool,
  makeRun,
  makeRunner,
  makeTenant,
  ok,
  sync,
  type TestTenant,
  takeOffer,
} from './world.ts'

const OFF = { Features__SelfHostedRunnersEnabled: 'false' }

let tenant: TestTenant
let poolId: string
let environmentId: string
beforeAll(async () => {
  tenant = await makeTenant()
  poolId = await makePool(tenant)
  environmentId = await makeEnvironment(tenant, poolId)
})

describe('with self-hosted runners off', () => {
  const changing = ROUTES.filter(
    route =>
      route.method !== 'get' &&
      /^\/api\/v1\/(pools(?!.*\/runners)|environments|runs(?!.*(tickets|links)))/.test(route.path),
  )

  it.each(changing.map(route => [route.method, route.path]))(
    '%s %s is 403 before ids or bodies are looked at',
    async (method, path) => {
      const answer = await call(method.toUpperCase(), path.replaceAll(/\{[^}]+\}/g, 'x'), {
        key: tenant.keys.admin,
        rawBody: '{',
        env: OFF,
      })
      expect(outcome(answer)).toBe('feature_disabled')
    },
  )

  it('a role that may not is told so first', async () => {
    const answer = await call('POST', '/api/v1/pools', { key: tenant.keys.viewer, env: OFF })
    expect(outcome(answer)).toBe('forbidden')
  })

  it('what is there can be read, and runners can be drained and removed', async () => {
    const runner = await makeRunner(tenant, poolId)
    const runId = await makeRun(tenant, environmentId)
    for (const path of [`/pools/${poolId}`, `/environments/${environmentId}`, `/runs/${runId}`, '/me']) {
      ok(await call('GET', `/api/v1${path}`, { key: tenant.keys.viewer, env: OFF }))
    }
    ok(await sync(runner, 1, {}, OFF))
    const path = `/api/v1/pools/${poolId}/runners/${runner.id}`
    ok(await call('POST', `${path}/drain`, { key: tenant.keys.admin, env: OFF }))
    ok(await call('DELETE', path, { key: tenant.keys.admin, env: OFF }))
  })
})

describe('with the relay off', () => {
  const RELAY_OFF = { Features__SelfHostedRelayEnabled: 'false' }
  const watching = ROUTES.filter(
    route => route.method === 'post' && /(viewer-tickets|\/live-links)$/.test(route.path),
  )

  it.each(watching.map(route => [route.path]))(
    'POST %s is 403 before ids or bodies are looked at',
    async path => {
      const answer = await call('POST', path.replaceAll(/\{[^}]+\}/g, 'x'), {
        key: tenant.keys.admin,
        rawBody: '{',
        env: RELAY_OFF,
      })
      expect(outcome(answer)).toBe('feature_disabled')
    },
  )

  it('a link that was made before is not exchanged', async () => {
    const runner = await makeRunner(tenant, poolId, 'watched')
    const runId = await makeRun(tenant, environmentId)
    await takeOffer(runner)
    const { secret } = await makeLink(tenant, runId)
    const body = { run_id: runId, link: secret }
    expect(outcome(await call('POST', '/api/v1/live-links/exchange', { body, env: RELAY_OFF }))).toBe(
      'feature_disabled',
    )
    expect(outcome(await call('POST', '/api/v1/live-links/exchange', { body }))).toBe(201)
  })
})

describe('an allow list', () => {
  it('lets only its tenants in, spaces around the slugs ignored', async () => {
    const others = { SelfHosted__EnabledTenants: 'somebody, else' }
    const ours = { SelfHosted__EnabledTenants: `somebody , ${tenant.slug} ` }
    const create = (env: Record<string, string>) =>
      call('POST', '/api/v1/pools', { key: tenant.keys.admin, body: { name: 'p' }, env })
    expect(outcome(await create(others))).toBe('feature_disabled')
    expect(outcome(await create(ours))).toBe(201)
  })

  it('shows in /me', async () => {
    const env = {
      SelfHosted__EnabledTenants: 'else',
      Features__SelfHostedRelayEnabled: 'true',
    }
    const { body } = ok(await call('GET', '/api/v1/me', { key: tenant.keys.viewer, env }))
    expect(body.features).toEqual({ self_hosted_runners: false, self_hosted_relay: true })
  })
})
