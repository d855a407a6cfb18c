import { expect } from 'vitest'
import type { Role } from '../../protocol/admin-api.ts'
import { type Answer, call, OPERATOR_KEY } from './client.ts'

/** Factories: a tenant with a key of each role, a pool, an environment, a token, a runner. */

export interface TestTenant {
  readonly id: string
  readonly slug: string
  readonly keys: Record<Role, string>
}

let made = 0

export async function makeTenant(): Promise<TestTenant> {
  made += 1
  const slug = `tenant-${made}-${crypto.randomUUID().slice(0, 8)}`
  const { body } = ok(
    await call('POST', '/api/v1/tenants', { key: OPERATOR_KEY, body: { slug, name: slug } }),
  )
  const admin = body.api_key.secret
  const [member, viewer] = await Promise.all([makeKey(admin, 'member'), makeKey(admin, 'viewer')])
  return { id: body.tenant.id, slug, keys: { admin, member, viewer } }
}

export async function makeKey(admin: string, role: Role): Promise<string> {
  return ok(await call('POST', '/api/v1/api-keys', { key: admin, body: { name: role, role } })).body.secret
}

/** @returns what a browser sends as Cookie from then on */
export async function signIn(key: string): Promise<string> {
  const answer = ok(await call('POST', '/api/v1/session', { body: { api_key: key } }))
  return cookieSetBy(answer)
}

export function cookieSetBy(answer: Answer): string {
  const [cookie] = (answer.headers.get('set-cookie') ?? '').split(';')
  if (!cookie) throw new Error(`no cookie was set: ${answer.status} ${answer.text}`)
  return cookie
}

export async function makePool(tenant: TestTenant): Promise<string> {
  return ok(await call('POST', '/api/v1/pools', { key: tenant.keys.admin, body: { name: 'east' } })).body.id
}

export async function makeEnvironment(tenant: TestTenant, poolId: string): Promise<string> {
  const body = { name: 'staging', execution_target: 'self_hosted', pool_id: poolId }
  return ok(await call('POST', '/api/v1/environments', { key: tenant.keys.admin, body })).body.id
}

export async function makeRun(
  tenant: TestTenant,
  environmentId: string,
  body: unknown = {},
): Promise<string> {
  const path = `/api/v1/environments/${environmentId}/runs`
  return ok(await call('POST', path, { key: tenant.keys.member, body })).body.id
}

export async function makeToken(
  tenant: TestTenant,
  poolId: string,
  body: unknown = {},
): Promise<{ id: string; secret: string }> {
  const path = `/api/v1/pools/${poolId}/registration-tokens`
  return ok(await call('POST', path, { key: tenant.keys.admin, body })).body
}

export interface Registering {
  readonly token: string
  readonly poolId: string
  readonly name?: string
  readonly bootId?: string
}

export function registration({ token, poolId, name = 'runner-east-1', bootId }: Registering) {
  return {
    protocol: 1,
    pool_id: poolId,
    registration_token: token,
    name,
    boot: 1,
    boot_id: bootId ?? crypto.randomUUID(),
    max_concurrency: 2,
    labels: { zone: 'east' },
    version: '0.1.0',
    platform: { os: 'linux', arch: 'x64', cpus: 4, memory_mb: 8192 },
  }
}

export function register(registering: Registering, env: Record<string, unknown> = {}): Promise<Answer> {
  return call('POST', '/runner/v1/register', { body: registration(registering), env })
}

export interface TestRunner {
  readonly id: string
  readonly poolId: string
  readonly credential: string
  readonly bootId: string
}

export async function makeRunner(tenant: TestTenant, poolId: string, name?: string): Promise<TestRunner> {
  const { secret } = await makeToken(tenant, poolId)
  const bootId = crypto.randomUUID()
  const { body } = ok(
    await register({ token: secret, poolId, bootId, ...(name === undefined ? {} : { name }) }),
  )
  return { id: body.runner_id, poolId, credential: body.credential, bootId }
}

export function runnerPath(runner: Pick<TestRunner, 'id' | 'poolId'>, call: string): string {
  return `/runner/v1/pools/${runner.poolId}/runners/${runner.id}/${call}`
}

export function syncBody(runner: Pick<TestRunner, 'bootId'>, seq = 1, more: object = {}) {
  return {
    protocol: 1,
    boot: 1,
    boot_id: runner.bootId,
    seq,
    draining: false,
    inventory: 'complete',
    slots: { max: 2 },
    leases: [],
    acks: [],
    ...more,
  }
}

export async function sync(
  runner: TestRunner,
  seq = 1,
  more: object = {},
  env: Record<string, unknown> = {},
): Promise<Answer> {
  const body = syncBody(runner, seq, more)
  return await call('POST', runnerPath(runner, 'sync'), { key: runner.credential, body, env })
}

/** Takes the one run that waits. @returns its session, which runs */
export async function takeOffer(runner: TestRunner): Promise<string> {
  const { session_id } = ok(await sync(runner, 1)).body.offers[0]
  ok(await sync(runner, 2, { leases: [{ session_id, state: 'running' }] }))
  return session_id
}

/** Brings an artifact of one part. @returns the upload's id */
export async function makeArtifact(
  runner: TestRunner,
  sessionId: string,
  name: string,
  bytes: Uint8Array,
): Promise<string> {
  const path = runnerPath(runner, `sessions/${sessionId}/artifacts`)
  const key = runner.credential
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
  const sha256 = Array.from(digest, byte => byte.toString(16).padStart(2, '0')).join('')
  const body = { name, size: bytes.length, sha256 }
  const { upload_id } = ok(await call('POST', path, { key, body })).body
  const headers = { 'content-length': String(bytes.length) }
  ok(await call('PUT', `${path}/${upload_id}/parts/1`, { key, rawBody: bytes, headers }))
  ok(await call('POST', `${path}/${upload_id}/complete`, { key }))
  return upload_id
}

export async function makeLink(tenant: TestTenant, runId: string): Promise<{ id: string; secret: string }> {
  const body = { mode: 'view', expires_in_seconds: 600, max_viewers: 10 }
  const made = ok(
    await call('POST', `/api/v1/runs/${runId}/live-links`, { key: tenant.keys.member, body }),
  ).body
  return { id: made.id, secret: String(made.url).split('#')[1] ?? '' }
}

export function ok(answer: Answer): Answer {
  expect(answer.status, answer.text).toBeLessThan(300)
  return answer
}
