import { describe, expect, it } from 'vitest'
import { mintId } from '../../worker/ids.ts'
import { originOf } from '../../worker/runners/docker-run.ts'
import { BINDINGS, call, outcome, problemOf } from './client.ts'
import {
  makeEnvironment,
  makePool,
  makeRun,
  makeRunner,
  makeTenant,
  makeToken,
  ok,
  runnerPath,
  sync,
  syncBody,
  takeOffer,
} from './world.ts'

describe('the way of a run', () => {
  it('goes from a new tenant to a leased session and a true result', async () => {
    const tenant = await makeTenant()
    const poolId = await makePool(tenant)
    const environmentId = await makeEnvironment(tenant, poolId)
    const runner = await makeRunner(tenant, poolId)
    const key = tenant.keys.viewer
    const runId = await makeRun(tenant, environmentId, { command: ['true'], env: { SECRET: 's' } })

    const queued = ok(await call('GET', `/api/v1/runs/${runId}`, { key })).body
    expect(queued).toMatchObject({ status: 'queued', attempt: 0, image: 'docker.io/certyn/agent:v0.1.0' })
    expect(queued).not.toHaveProperty('env')

    const [offer] = ok(await sync(runner, 1)).body.offers
    expect(offer).toMatchObject({ run_id: runId, attempt: 1, job: { env: { SECRET: 's' } } })
    const exit = { code: 0, reason: 'exited' }
    const leases = [{ session_id: offer.session_id, state: 'exited', exit }]
    ok(await sync(runner, 2, { leases }))

    const ended = ok(await call('GET', `/api/v1/runs/${runId}`, { key })).body
    expect(ended).toMatchObject({ status: 'succeeded', exit_code: 0, runner_id: runner.id })
    const cancelled = await call('POST', `/api/v1/runs/${runId}/cancel`, { key: tenant.keys.member })
    expect(cancelled.body).toMatchObject({ status: 'succeeded' })
  })

  it('is not cut short by a word that only a newer runner knows', async () => {
    const tenant = await makeTenant()
    const poolId = await makePool(tenant)
    const runner = await makeRunner(tenant, poolId)
    const runId = await makeRun(tenant, await makeEnvironment(tenant, poolId), { max_attempts: 1 })
    const session_id = await takeOffer(runner)
    const paused = { session_id, state: 'paused', started_at: 'just now', notices: ['warped'] }
    const kept = ok(await sync(runner, 3, { leases: [paused], health: { fans: 2 } })).body
    expect(kept.leases).toEqual([{ session_id, verdict: 'keep' }])
    const evicted = { session_id, state: 'exited', exit: { code: null, reason: 'evicted' } }
    expect(ok(await sync(runner, 4, { leases: [evicted] })).body.leases).toEqual([
      { session_id, verdict: 'forget' },
    ])
    const run = ok(await call('GET', `/api/v1/runs/${runId}`, { key: tenant.keys.viewer })).body
    expect(run).toMatchObject({ status: 'failed', failure: { code: 'engine_error', message: 'evicted' } })
  })

  it('cancels a queued run in the same reply, and again without a change', async () => {
    const tenant = await makeTenant()
    const environmentId = await makeEnvironment(tenant, await makePool(tenant))
    const runId = await makeRun(tenant, environmentId)
    for (const _ of ['first', 'again']) {
      const answer = await call('POST', `/api/v1/runs/${runId}/cancel`, { key: tenant.keys.member })
      expect(ok(answer).body.status).toBe('cancelled')
    }
  })

  it('explains what a run waits for', async () => {
    const tenant = await makeTenant()
    const poolId = await makePool(tenant)
    const environmentId = await makeEnvironment(tenant, poolId)
    const runId = await makeRun(tenant, environmentId)
    const path = `/api/v1/runs/${runId}/placement`
    expect(ok(await call('GET', path, { key: tenant.keys.viewer })).body).toEqual({
      waiting_for: 'runner',
      candidates: [],
    })
  })

  it('finds an acknowledged run whose copy never reached D1', async () => {
    const tenant = await makeTenant()
    await makePool(tenant)
    const environmentId = await makeEnvironment(tenant, await makePool(tenant))
    const runId = await makeRun(tenant, environmentId)
    await BINDINGS.DB.prepare("UPDATE runs SET version = 0, document = '{}' WHERE id = ?").bind(runId).run()
    expect(ok(await call('GET', `/api/v1/runs/${runId}`, { key: tenant.keys.viewer })).body.id).toBe(runId)
    const other = await makeTenant()
    await makePool(other)
    expect(outcome(await call('GET', `/api/v1/runs/${runId}`, { key: other.keys.viewer }))).toBe('not_found')
  })
})

describe('the image of a run', () => {
  it('is the body’s, then the environment’s, then the default’s', async () => {
    const tenant = await makeTenant()
    const poolId = await makePool(tenant)
    const environmentId = await makeEnvironment(tenant, poolId)
    const path = `/api/v1/environments/${environmentId}`
    const key = tenant.keys.admin
    const imageOf = async (body: unknown) => ok(await call('POST', `${path}/runs`, { key, body })).body.image

    expect(await imageOf({})).toBe('docker.io/certyn/agent:v0.1.0')
    ok(await call('PATCH', path, { key, body: { default_image: 'registry.example/env:1' } }))
    expect(await imageOf({})).toBe('registry.example/env:1')
    expect(await imageOf({ image: 'registry.example/body:1' })).toBe('registry.example/body:1')
  })

  it('is asked for when nothing names one', async () => {
    const tenant = await makeTenant()
    const environmentId = await makeEnvironment(tenant, await makePool(tenant))
    const answer = await call('POST', `/api/v1/environments/${environmentId}/runs`, {
      key: tenant.keys.member,
      env: { Docker__DefaultImage: '' },
    })
    expect(problemOf(answer)).toMatchObject({ code: 'invalid_request', errors: [{ path: 'image' }] })
  })
})

describe('what a run may not ask for', () => {
  it.each([[true], [1], ['nvidia'], ['x'.repeat(500)], [{ count: 1 }], [[]], [['a']]])(
    'refuses gpu %j with the reason',
    async gpu => {
      const tenant = await makeTenant()
      const environmentId = await makeEnvironment(tenant, await makePool(tenant))
      const answer = await call('POST', `/api/v1/environments/${environmentId}/runs`, {
        key: tenant.keys.member,
        body: { resources: { gpu } },
      })
      expect(problemOf(answer)).toMatchObject({ code: 'gpu_unsupported', status: 422 })
      expect(answer.body.detail).toContain('GPU-backed self-hosted support is planned')
    },
  )

  it('says so of a GPU before it says what else is wrong, and takes a GPU that is not wanted', async () => {
    const tenant = await makeTenant()
    const environmentId = await makeEnvironment(tenant, await makePool(tenant))
    const ask = (body: unknown) =>
      call('POST', `/api/v1/environments/${environmentId}/runs`, { key: tenant.keys.member, body })
    expect(outcome(await ask({ resources: { gpu: 1, gpus: 2 }, typo: 1 }))).toBe('gpu_unsupported')
    for (const gpu of [false, 0, '', null]) expect(outcome(await ask({ resources: { gpu } }))).toBe(201)
  })

  it('refuses a run in an environment that is not self-hosted', async () => {
    const tenant = await makeTenant()
    const body = { name: 'cloud', execution_target: 'cloud' }
    const { id } = ok(await call('POST', '/api/v1/environments', { key: tenant.keys.admin, body })).body
    const answer = await call('POST', `/api/v1/environments/${id}/runs`, { key: tenant.keys.member })
    expect(outcome(answer)).toBe('execution_target_not_self_hosted')
  })
})

describe('pools', () => {
  it('drain with a note, resume, and are deleted only when nothing uses them', async () => {
    const tenant = await makeTenant()
    const key = tenant.keys.admin
    const poolId = await makePool(tenant)
    const path = `/api/v1/pools/${poolId}`
    const drained = await call('POST', `${path}/drain`, { key, body: { note: 'new disks' } })
    expect(ok(drained).body).toMatchObject({ state: 'draining', note: 'new disks' })
    expect(ok(await call('POST', `${path}/resume`, { key })).body).toMatchObject({
      state: 'active',
      note: null,
    })

    const environmentId = await makeEnvironment(tenant, poolId)
    const refused = await call('DELETE', path, { key })
    expect(problemOf(refused)).toMatchObject({ code: 'conflict' })
    expect(refused.body.detail).toContain('staging')
    const runner = await makeRunner(tenant, poolId)
    expect(outcome(await call('DELETE', path, { key })), 'the runner comes first').toBe('pool_not_empty')
    ok(await call('DELETE', `/api/v1/environments/${environmentId}`, { key }))
    expect(outcome(await call('DELETE', path, { key }))).toBe('pool_not_empty')
    ok(await call('DELETE', `${path}/runners/${runner.id}`, { key }))
    expect((await call('DELETE', path, { key })).status).toBe(204)
    expect(outcome(await call('GET', path, { key }))).toBe('not_found')
    expect(outcome(await sync(runner))).toBe('not_found')
  })
})

it('a pool keeps what a change does not name', async () => {
  const tenant = await makeTenant()
  const key = tenant.keys.admin
  const { id } = ok(await call('POST', '/api/v1/pools', { key, body: { name: 'a', description: 'b' } })).body
  const path = `/api/v1/pools/${id}`
  expect(ok(await call('PATCH', path, { key, body: { name: 'c' } })).body).toMatchObject({
    name: 'c',
    description: 'b',
  })
  expect(ok(await call('PATCH', path, { key })).body).toMatchObject({ name: 'c', description: 'b' })
  const stats = {
    runners_online: 0,
    runners_total: 0,
    slots_total: 0,
    slots_busy: 0,
    queued: 0,
    oldest_queued_seconds: null,
  }
  expect(ok(await call('GET', path, { key })).body).toMatchObject({ name: 'c', state: 'active', stats })
})

describe('a registration token', () => {
  it('comes with the whole docker run command', async () => {
    const tenant = await makeTenant()
    const poolId = await makePool(tenant)
    const path = `/api/v1/pools/${poolId}/registration-tokens`
    const { body } = ok(await call('POST', path, { key: tenant.keys.admin }))
    expect(body.docker_run).toBe(`docker run -d \\
  --name certyn-runner \\
  --restart unless-stopped \\
  -v /var/run/docker.sock:/var/run/docker.sock \\
  -v /var/lib/certyn-runner:/var/lib/certyn-runner \\
  -e CONTROL_PLANE_URL=https://runners.example \\
  -e RUNNER_POOL_ID=${poolId} \\
  -e REGISTRATION_TOKEN=${body.secret} \\
  -e RUNNER_NAME=runner-east-1 \\
  -e MAX_CONCURRENCY=2 \\
  docker.io/certyn/runner:v0.1.0`)
  })

  it('names the address that the caller used, also behind a proxy that ends TLS', () => {
    const behind = (proto: string) =>
      originOf(new Request('http://runners.example/x', { headers: { 'x-forwarded-proto': proto } }))
    expect(behind('https')).toBe('https://runners.example')
    expect(behind('gopher')).toBe('http://runners.example')
  })

  it('is listed with its uses and online runners, never with its secret', async () => {
    const tenant = await makeTenant()
    const poolId = await makePool(tenant)
    await makeRunner(tenant, poolId)
    const { secret } = await makeToken(tenant, poolId, { name: 'unused' })
    const listed = ok(
      await call('GET', `/api/v1/pools/${poolId}/registration-tokens`, { key: tenant.keys.admin }),
    )
    expect(listed.body.items).toMatchObject([
      { name: 'unused', uses: 0, runners_online: 0, hint: `cty_reg_…${secret.slice(-4)}` },
      { uses: 1, runners_online: 1 },
    ])
    expect(listed.text).not.toContain(secret)
  })
})

describe('the runner calls', () => {
  it('rotate a credential: the old one dies at the first use of the new one', async () => {
    const tenant = await makeTenant()
    const runner = await makeRunner(tenant, await makePool(tenant))
    const path = runnerPath(runner, 'credential')
    const next = {
      ...runner,
      credential: ok(await call('POST', path, { key: runner.credential })).body.credential,
    }
    ok(await sync(runner, 1))
    ok(await sync(next, 2))
    expect(outcome(await sync(runner, 3))).toBe('unauthenticated')
  })

  it('deregister a runner at once', async () => {
    const tenant = await makeTenant()
    const runner = await makeRunner(tenant, await makePool(tenant))
    const left = await call('POST', runnerPath(runner, 'deregister'), { key: runner.credential })
    expect(left.status).toBe(204)
    expect(outcome(await sync(runner))).toBe('unauthenticated')
  })

  it('open a doorbell, and answer every refusal before the upgrade as a problem', async () => {
    const tenant = await makeTenant()
    const runner = await makeRunner(tenant, await makePool(tenant))
    const path = runnerPath(runner, 'doorbell')
    const upgrade = { upgrade: 'websocket' }
    const open = await call('GET', path, { key: runner.credential, headers: upgrade })
    expect(open.status).toBe(101)
    open.webSocket?.accept()
    open.webSocket?.close()
    expect(outcome(await call('GET', path, { key: runner.credential }))).toBe('invalid_request')
    const forged = { ...upgrade, 'x-certyn-runner-id': runner.id, 'x-certyn-credential-hash': 'a'.repeat(64) }
    expect(outcome(await call('GET', path, { headers: forged }))).toBe('unauthenticated')
  })

  it('ignore what a newer runner adds to the query or to the words of a notice', async () => {
    const tenant = await makeTenant()
    const runner = await makeRunner(tenant, await makePool(tenant))
    const leases = [{ session_id: mintId('session'), state: 'running', notices: ['warped', 'adopted'] }]
    const body = syncBody(runner, 1, { leases })
    const path = `${runnerPath(runner, 'sync')}?trace=1`
    expect(outcome(await call('POST', path, { key: runner.credential, body }))).toBe(200)
  })

  it('say which protocol is wanted, after the credential and before the fields', async () => {
    const tenant = await makeTenant()
    const runner = await makeRunner(tenant, await makePool(tenant))
    const ask = (key: string, body: unknown) => call('POST', runnerPath(runner, 'sync'), { key, body })
    const stranger = await makeRunner(tenant, await makePool(tenant))
    expect(outcome(await ask(runner.credential, { protocol: 2 }))).toBe('unsupported_protocol')
    expect(outcome(await ask(stranger.credential, { protocol: 2 }))).toBe('unauthenticated')
    expect(outcome(await ask(stranger.credential, { nonsense: true }))).toBe('unauthenticated')
    expect(outcome(await ask(runner.credential, { nonsense: true }))).toBe('invalid_request')
    const old = await call('POST', '/runner/v1/register', { body: { protocol: 0 } })
    expect(problemOf(old)).toMatchObject({ code: 'unsupported_protocol', status: 426 })
    expect(old.body.detail).toContain('speaks runner protocol 1')
  })
})
