import { listDurableObjectIds, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { SECRET_PREFIXES } from '../../protocol/secrets.ts'
import { BINDINGS, call, OPERATOR_KEY, outcome } from './client.ts'
import {
  makeEnvironment,
  makePool,
  makeTenant,
  makeToken,
  ok,
  register,
  runnerPath,
  signIn,
  sync,
} from './world.ts'

const CANARY = 'canary-in-the-env-of-a-run'
const logged: string[] = []

beforeEach(() => {
  for (const level of ['log', 'info', 'warn', 'error', 'debug'] as const) {
    vi.spyOn(console, level).mockImplementation((...args) => void logged.push(args.map(String).join(' ')))
  }
})
afterEach(() => vi.restoreAllMocks())

/** Everything in D1, as text. */
async function wholeDirectory(): Promise<string> {
  const tables = await BINDINGS.DB.prepare(
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_cf%' ESCAPE '\\'",
  ).all<{ name: string }>()
  const contents = await Promise.all(
    tables.results.map(({ name }) => BINDINGS.DB.prepare(`SELECT * FROM "${name}"`).all()),
  )
  return JSON.stringify(contents.map(one => one.results))
}

/** Everything in the pools' objects, as text. */
async function allObjects(): Promise<string> {
  const texts: string[] = []
  for (const id of await listDurableObjectIds(env.RUNNER_POOL)) {
    await runInDurableObject(env.RUNNER_POOL.get(id), (_, state) => {
      const tables = state.storage.sql.exec("SELECT name FROM sqlite_master WHERE type = 'table'").toArray()
      for (const { name } of tables) {
        if (String(name).startsWith('_cf')) continue
        texts.push(JSON.stringify(state.storage.sql.exec(`SELECT * FROM "${name}"`).toArray()))
      }
    })
  }
  return texts.join('\n')
}

it('no secret of any flow is found in D1, in objects, in logs or in refusals', async () => {
  const tenant = await makeTenant()
  const poolId = await makePool(tenant)
  const environmentId = await makeEnvironment(tenant, poolId)
  const token = await makeToken(tenant, poolId, { max_uses: 1 })
  const bootId = crypto.randomUUID()
  const { body: joined } = ok(await register({ token: token.secret, poolId, bootId }))
  const runner = { id: joined.runner_id, poolId, credential: joined.credential, bootId }
  const next = ok(await call('POST', runnerPath(runner, 'credential'), { key: runner.credential })).body
    .credential
  const { body: run } = ok(
    await call('POST', `/api/v1/environments/${environmentId}/runs`, {
      key: tenant.keys.member,
      body: { env: { PASSWORD: CANARY } },
      headers: { 'idempotency-key': 'build-1' },
    }),
  )
  const cookie = await signIn(tenant.keys.admin)
  const closed = await signIn(tenant.keys.viewer)
  ok(await call('DELETE', '/api/v1/session', { cookie: closed }))
  const secretOf = (header: string) => header.split('=')[1] ?? ''
  const cookies = [secretOf(cookie), secretOf(closed)]
  expect(cookies.every(secret => secret.startsWith(SECRET_PREFIXES.browserSession))).toBe(true)
  const secrets = [
    ...cookies,
    ...Object.values(tenant.keys),
    token.secret,
    runner.credential,
    next,
    OPERATOR_KEY,
  ]

  const refusals = [
    await register({ token: token.secret, poolId, name: 'other' }),
    await call('GET', '/api/v1/me', { key: runner.credential }),
    await call('GET', '/api/v1/me', { key: OPERATOR_KEY }),
    await call('GET', '/api/v1/me', { cookie: closed }),
    await call('GET', '/api/v1/session', { cookie: closed }),
    await call('POST', '/api/v1/pools', { cookie, headers: { origin: 'https://evil.example' } }),
    await call('POST', '/api/v1/session', { body: { api_key: secretOf(cookie) } }),
    await call('POST', '/api/v1/session', { body: { api_key: tenant.keys.admin, tenant: next } }),
    await call('POST', runnerPath(runner, 'sync'), { key: token.secret, body: { credential: next } }),
    await call('POST', '/api/v1/api-keys', { key: tenant.keys.admin, body: { role: next } }),
    await call('POST', `/api/v1/environments/${environmentId}/runs`, {
      key: tenant.keys.member,
      body: { env: { PASSWORD: [CANARY] }, image: CANARY.toUpperCase() },
    }),
    await call('POST', '/api/v1/pools', {
      key: tenant.keys.admin,
      body: { name: 'p' },
      env: {
        DB: {
          prepare: () => {
            throw new Error('D1 is gone')
          },
        },
      },
    }),
  ]
  for (const refusal of refusals) expect(typeof outcome(refusal)).toBe('string')

  const refused = refusals.map(refusal => refusal.text).join('\n')
  const haystacks = {
    directory: await wholeDirectory(),
    objects: await allObjects(),
    logs: logged.join('\n'),
    refused,
  }
  for (const [where, text] of Object.entries(haystacks)) {
    for (const secret of secrets)
      expect(text.includes(secret), `${secret.slice(0, 8)} in ${where}`).toBe(false)
    const anySecret = new RegExp(`(${Object.values(SECRET_PREFIXES).join('|')})_[0-9A-Za-z]{49}`)
    expect(anySecret.test(text), `a secret in ${where}`).toBe(false)
    // Until the run ends its env lives in its pool's object, and nowhere else.
    if (where !== 'objects') expect(text.includes(CANARY), `env in ${where}`).toBe(false)
  }

  ok(await call('POST', `/api/v1/runs/${run.id}/cancel`, { key: tenant.keys.member }))
  expect(await allObjects()).not.toContain(CANARY)
  expect(haystacks.directory).toContain(tenant.id)
  expect(haystacks.objects).toContain(runner.id)
  expect(logged.join('\n')).toContain('D1 is gone')
  ok(await sync({ ...runner, credential: next }))
})
