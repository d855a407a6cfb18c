import type { Who } from '../../worker/auth/callers.ts'
import type { Route } from '../../worker/http/route.ts'
import { mintId } from '../../worker/ids.ts'
import { call, OPERATOR_KEY, ORIGIN } from './client.ts'
import {
  makeArtifact,
  makeEnvironment,
  makeLink,
  makePool,
  makeRun,
  makeRunner,
  makeTenant,
  makeToken,
  ok,
  registration,
  signIn,
  syncBody,
  type TestRunner,
  type TestTenant,
  takeOffer,
} from './world.ts'

/**
 * Who may call what, written down a second time: a route that changes its mind, or has no row here, fails.
 * `body` is what a right call sends; `upgrade` makes it a websocket.
 */
export interface Row {
  readonly who: Who
  readonly body?: (world: World) => unknown
  readonly upgrade?: true
  /** Sent as it is, in place of `body`. */
  readonly rawBody?: Uint8Array
  readonly query?: string
  readonly headers?: (world: World) => Promise<Record<string, string>>
}

const ARTIFACT = new TextEncoder().encode('left behind')

const RUNNER = '/runner/v1/pools/{pool_id}/runners/{runner_id}'
export const MATRIX: Record<string, Row> = {
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
  'post /api/v1/session': { who: 'public', body: ({ tenant }) => ({ api_key: tenant.keys.viewer }) },
  'get /api/v1/session': { who: 'public', headers: browserHeaders },
  'delete /api/v1/session': { who: 'public', headers: browserHeaders },
  'get /api/v1/members': { who: 'admin' },
  'put /api/v1/members': { who: 'admin', body: () => ({ email: 'bob@acme.example', role: 'viewer' }) },
  'delete /api/v1/members': {
    who: 'admin',
    body: () => ({ email: 'ann@acme.example' }),
    headers: addMember,
  },
  'post /api/v1/pools': { who: 'admin', body: () => ({ name: 'p' }) },
  'get /api/v1/pools': { who: 'viewer' },
  'get /api/v1/overview': { who: 'viewer' },
  'get /api/v1/pools/{pool_id}/history': { who: 'viewer' },
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
  'post /api/v1/runs/{run_id}/viewer-tickets': { who: 'viewer', body: () => ({ mode: 'view' }) },
  'get /api/v1/runs/{run_id}/stream': { who: 'public', upgrade: true, headers: streamHeaders },
  'post /api/v1/runs/{run_id}/live-links': {
    who: 'member',
    body: () => ({ mode: 'view', expires_in_seconds: 60, max_viewers: 1 }),
  },
  'get /api/v1/runs/{run_id}/live-links': { who: 'member' },
  'get /api/v1/live-links': { who: 'member' },
  'delete /api/v1/live-links/{link_id}': { who: 'member' },
  'post /api/v1/live-links/exchange': {
    who: 'public',
    body: ({ ids, link }) => ({ run_id: ids.run_id, link }),
  },
  'get /api/v1/runs/{run_id}/logs': { who: 'viewer' },
  'get /api/v1/runs/{run_id}/artifacts': { who: 'viewer' },
  'get /api/v1/runs/{run_id}/artifacts/{name}': { who: 'viewer' },
  'get /api/v1/audit-events': { who: 'admin' },
  'post /runner/v1/register': {
    who: 'public',
    body: ({ token, poolId }) => registration({ token, poolId, name: 'another' }),
  },
  [`post ${RUNNER}/sync`]: { who: 'runner', body: ({ runner }) => syncBody(runner) },
  [`post ${RUNNER}/credential`]: { who: 'runner' },
  [`post ${RUNNER}/deregister`]: { who: 'runner' },
  [`get ${RUNNER}/doorbell`]: { who: 'runner', upgrade: true },
  [`get ${RUNNER}/sessions/{session_id}/relay`]: { who: 'runner', upgrade: true },
  [`post ${RUNNER}/sessions/{session_id}/logs`]: {
    who: 'runner',
    rawBody: new Uint8Array(),
    query: '?offset=0',
  },
  [`post ${RUNNER}/sessions/{session_id}/artifacts`]: {
    who: 'runner',
    body: () => ({ name: 'b.txt', size: 0, sha256: '0'.repeat(64) }),
  },
  [`put ${RUNNER}/sessions/{session_id}/artifacts/{upload_id}/parts/{part}`]: {
    who: 'runner',
    rawBody: ARTIFACT,
  },
  [`post ${RUNNER}/sessions/{session_id}/artifacts/{upload_id}/complete`]: { who: 'runner' },
  'get /': { who: 'public' },
  'get /environments': { who: 'public' },
  'get /environments/runners': { who: 'public' },
  'get /environments/runners/{pool_id}': { who: 'public' },
  'get /runs': { who: 'public' },
  'get /runs/{run_id}': { who: 'public' },
  'get /live-links': { who: 'public' },
  'get /api-keys': { who: 'public' },
  'get /members': { who: 'public' },
  'get /audit': { who: 'public' },
  'get /live/{run_id}': { who: 'public' },
  'get /assets/{name}': { who: 'public' },
  'get /healthz': { who: 'public' },
  'get /openapi.json': { who: 'public' },
  'get /docs': { who: 'public' },
}

export interface World {
  readonly tenant: TestTenant
  readonly poolId: string
  readonly runner: TestRunner
  readonly token: string
  readonly link: string
  readonly ids: Readonly<Record<string, string>>
}

async function browserHeaders({ tenant }: World): Promise<Record<string, string>> {
  return { cookie: await signIn(tenant.keys.viewer), origin: ORIGIN }
}

async function addMember({ tenant }: World): Promise<Record<string, string>> {
  const body = { email: 'ann@acme.example', role: 'viewer' }
  ok(await call('PUT', '/api/v1/members', { key: tenant.keys.admin, body }))
  return {}
}

async function streamHeaders({ tenant, ids }: World): Promise<Record<string, string>> {
  const body = { mode: 'view' }
  const path = `/api/v1/runs/${ids.run_id}/viewer-tickets`
  const { ticket } = ok(await call('POST', path, { key: tenant.keys.viewer, body })).body
  return { 'sec-websocket-protocol': `certyn.stream.v1, certyn.ticket.${ticket}` }
}

export const nameOf = (route: Route) => `${route.method} ${route.path}`

export async function makeWorld(route: Route): Promise<World> {
  const tenant = await makeTenant()
  const poolId = await makePool(tenant)
  const runner = await makeRunner(tenant, poolId)
  const environmentId = await makeEnvironment(tenant, poolId)
  const token = await makeToken(tenant, poolId)
  const { key } = ok(await call('GET', '/api/v1/me', { key: tenant.keys.viewer })).body
  const runId = await makeRun(tenant, environmentId)
  const sessionId = await takeOffer(runner)
  const link = await makeLink(tenant, runId)
  const uploadId = await makeArtifact(runner, sessionId, 'a.txt', ARTIFACT)
  const someone = { email: `${tenant.id}@example.com`, role: 'viewer' }
  const member = ok(await call('PUT', '/api/v1/members', { key: tenant.keys.admin, body: someone })).body
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
    session_id: sessionId,
    link_id: link.id,
    member_id: member.id,
    upload_id: uploadId,
    part: '1',
    name: 'a.txt',
  }
  return { tenant, poolId, runner, token: token.secret, link: link.secret, ids }
}

export function fill(route: Route, ids: Readonly<Record<string, string>>): string {
  return route.path.replaceAll(/\{([^}]+)\}/g, (_, name: string) => {
    const id = ids[name]
    if (id === undefined) throw new Error(`the test world has no ${name}`)
    return id
  })
}

export const hasIds = (route: Route) => route.path.includes('{')

export function absentIds(): Record<string, string> {
  return {
    tenant_id: mintId('tenant'),
    key_id: mintId('apiKey'),
    pool_id: mintId('pool'),
    token_id: mintId('registrationToken'),
    runner_id: mintId('runner'),
    environment_id: mintId('environment'),
    run_id: mintId('run'),
    session_id: mintId('session'),
    link_id: mintId('liveLink'),
    member_id: mintId('member'),
    upload_id: '0'.repeat(32),
    part: '2',
    name: 'no such file',
  }
}

export function rightKey(route: Route, world: World): string | undefined {
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
