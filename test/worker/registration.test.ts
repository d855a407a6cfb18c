import { beforeEach, describe, expect, it } from 'vitest'
import { mintSecret } from '../../protocol/secrets.ts'
import type { PoolStub } from '../../worker/env.ts'
import { mintId } from '../../worker/ids.ts'
import { BINDINGS, call, outcome } from './client.ts'
import {
  makePool,
  makeRunner,
  makeTenant,
  makeToken,
  ok,
  register,
  registration,
  sync,
  type TestRunner,
  type TestTenant,
} from './world.ts'

let tenant: TestTenant
let poolId: string
beforeEach(async () => {
  tenant = await makeTenant()
  poolId = await makePool(tenant)
})

async function usesOf(tokenId: string): Promise<number> {
  const path = `/api/v1/pools/${poolId}/registration-tokens`
  const { body } = ok(await call('GET', path, { key: tenant.keys.admin }))
  return body.items.find((token: { id: string }) => token.id === tokenId).uses
}

async function runnersIn(pool: string): Promise<number> {
  return ok(await call('GET', `/api/v1/pools/${pool}/runners`, { key: tenant.keys.admin })).body.items.length
}

async function expire(tokenId: string): Promise<void> {
  await BINDINGS.DB.prepare('UPDATE registration_tokens SET expires_at = 1 WHERE id = ?').bind(tokenId).run()
}

async function revoke(tokenId: string): Promise<void> {
  const path = `/api/v1/pools/${poolId}/registration-tokens/${tokenId}`
  ok(await call('DELETE', path, { key: tenant.keys.admin }))
}

const realPool = () => BINDINGS.RUNNER_POOL.getByName(poolId)

/** The pool's real object, but for what a test replaces. */
function stub(replaced: object): object {
  return {
    previewRegistration: (who: Parameters<PoolStub['previewRegistration']>[0]) =>
      realPool().previewRegistration(who),
    register: (registration: Parameters<PoolStub['register']>[0]) => realPool().register(registration),
    ...replaced,
  }
}

/** The runner has left and said so: its name is free, and `offline` needs no waiting. */
async function leave(runner: TestRunner): Promise<void> {
  ok(await sync(runner, 99, { leaving: true }))
}

describe('a registration token', () => {
  it('lets a runner in, which is online at once', async () => {
    const { id, secret } = await makeToken(tenant, poolId, { max_uses: 1 })
    const { body } = ok(await register({ token: secret, poolId }))
    expect(body).toMatchObject({ pool_id: poolId, sync_interval_ms: expect.any(Number) })
    const path = `/api/v1/pools/${poolId}/runners/${body.runner_id}`
    expect(ok(await call('GET', path, { key: tenant.keys.viewer })).body).toMatchObject({
      status: 'online',
      name: 'runner-east-1',
      slots: { max: 2, busy: 0 },
    })
    expect(await usesOf(id)).toBe(1)
  })

  it.each([
    ['unknown', () => mintSecret('registrationToken')],
    ['malformed', () => `${mintSecret('registrationToken').slice(0, -1)}!`],
    ['an API key', () => tenant.keys.admin],
    ['empty', () => ''],
  ])('that is %s is refused', async (_, token) => {
    expect(outcome(await register({ token: token(), poolId }))).toBe('unauthenticated')
  })

  it('of another pool is refused, and without its pool there is nothing', async () => {
    const { secret } = await makeToken(tenant, poolId)
    expect(outcome(await register({ token: secret, poolId: await makePool(tenant) }))).toBe('unauthenticated')
    const nowhere = mintId('pool')
    expect(outcome(await register({ token: secret, poolId: nowhere }))).toBe('not_found')
  })

  it('that is revoked says so before it says expired, and expired before the feature is off', async () => {
    const { id, secret } = await makeToken(tenant, poolId, { max_uses: 1 })
    const off = { Features__SelfHostedRunnersEnabled: 'false' }
    expect(outcome(await register({ token: secret, poolId }, off))).toBe('feature_disabled')
    await expire(id)
    expect(outcome(await register({ token: secret, poolId }, off))).toBe('token_expired')
    await revoke(id)
    expect(outcome(await register({ token: secret, poolId }, off))).toBe('token_revoked')
    expect(await runnersIn(poolId)).toBe(0)
  })

  it('with max_uses 1 makes one runner of 100 that come at once', async () => {
    const { id, secret } = await makeToken(tenant, poolId, { max_uses: 1 })
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) => register({ token: secret, poolId, name: `runner-${i}` })),
    )
    const outcomes = answers.map(outcome)
    expect(outcomes.filter(one => one === 201)).toHaveLength(1)
    expect(outcomes.filter(one => one === 'token_used_up')).toHaveLength(99)
    expect(await usesOf(id)).toBe(1)
    expect(await runnersIn(poolId)).toBe(1)
  })

  it('with max_uses 1 makes one runner of one process that asks 20 times at once', async () => {
    const { id, secret } = await makeToken(tenant, poolId, { max_uses: 1 })
    const bootId = crypto.randomUUID()
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => register({ token: secret, poolId, bootId })),
    )
    expect(new Set(answers.map(answer => ok(answer).body.runner_id)).size).toBe(1)
    expect(await usesOf(id)).toBe(1)
  })

  it('counts one use when the reply was lost and the process asks again', async () => {
    const { id, secret } = await makeToken(tenant, poolId, { max_uses: 1 })
    const bootId = crypto.randomUUID()
    const lost = ok(await register({ token: secret, poolId, bootId })).body
    const heard = ok(await register({ token: secret, poolId, bootId })).body
    expect(heard.runner_id).toBe(lost.runner_id)
    expect(await usesOf(id)).toBe(1)
    const asRunner = (credential: string) => ({ id: lost.runner_id, poolId, credential, bootId })
    expect(outcome(await sync(asRunner(lost.credential)))).toBe('unauthenticated')
    expect(outcome(await sync(asRunner(heard.credential)))).toBe(200)
    expect(outcome(await register({ token: secret, poolId, bootId }))).toBe('token_used_up')
  })

  it('counts one use when the object could not be reached and the process asks again', async () => {
    const { id, secret } = await makeToken(tenant, poolId, { max_uses: 1 })
    const bootId = crypto.randomUUID()
    const unreachable = {
      RUNNER_POOL: {
        getByName: () => ({
          previewRegistration: async () => ({ ok: true, value: 'new' }),
          register: () => Promise.reject(new Error('the object was reset')),
        }),
      },
    }
    expect(outcome(await register({ token: secret, poolId, bootId }, unreachable))).toBe('overloaded')
    expect(await usesOf(id)).toBe(1)
    expect(outcome(await register({ token: secret, poolId, name: 'other' }))).toBe('token_used_up')
    expect(outcome(await register({ token: secret, poolId, bootId }))).toBe(201)
    expect(await usesOf(id)).toBe(1)
  })

  it('counts no second use for a process whose open use is its own', async () => {
    const { id, secret } = await makeToken(tenant, poolId)
    const bootId = crypto.randomUUID()
    const unreachable = {
      RUNNER_POOL: { getByName: () => stub({ register: () => Promise.reject(new Error('reset')) }) },
    }
    for (let tries = 0; tries < 3; tries++) {
      expect(outcome(await register({ token: secret, poolId, bootId }, unreachable))).toBe('overloaded')
    }
    ok(await register({ token: secret, poolId, bootId }))
    expect(await usesOf(id)).toBe(1)
  })

  it.each([[1], [null]])(
    'with max_uses %j counts one use for calls that overtake one another',
    async max_uses => {
      const { id, secret } = await makeToken(tenant, poolId, { max_uses })
      const bootId = crypto.randomUUID()
      const first = ok(await register({ token: secret, poolId, bootId })).body
      let looks = 0
      // This call looked before the first one registered, and goes on after it.
      const overtaken = {
        previewRegistration: async (who: Parameters<PoolStub['previewRegistration']>[0]) =>
          looks++ === 0 ? { ok: true, value: 'new' } : await realPool().previewRegistration(who),
      }
      const env = { RUNNER_POOL: { getByName: () => stub(overtaken) } }
      expect(ok(await register({ token: secret, poolId, bootId }, env)).body.runner_id).toBe(first.runner_id)
      expect(await usesOf(id)).toBe(1)
    },
  )

  it('has its use given back when the object refuses the runner', async () => {
    const { id, secret } = await makeToken(tenant, poolId, { max_uses: 1 })
    const refusing = {
      RUNNER_POOL: {
        getByName: () => ({
          previewRegistration: async () => ({ ok: true, value: 'new' }),
          register: async () => ({ ok: false, error: { code: 'runner_name_taken', detail: 'taken' } }),
        }),
      },
    }
    expect(outcome(await register({ token: secret, poolId }, refusing))).toBe('runner_name_taken')
    expect(await usesOf(id)).toBe(0)
    expect(outcome(await register({ token: secret, poolId }))).toBe(201)
  })

  it.each([
    ['revoked', revoke],
    ['expired', expire],
  ])('that is %s after it was looked at lets nobody in and counts no use', async (_, kill) => {
    const { id, secret } = await makeToken(tenant, poolId)
    let looks = 0
    const slow = {
      previewRegistration: async (who: Parameters<PoolStub['previewRegistration']>[0]) => {
        if (looks++ === 0) await kill(id)
        return await realPool().previewRegistration(who)
      },
    }
    const env = { RUNNER_POOL: { getByName: () => stub(slow) } }
    expect((await register({ token: secret, poolId }, env)).status).toBe(401)
    expect(await usesOf(id)).toBe(0)
    expect(await runnersIn(poolId)).toBe(0)
  })

  it('lets no removed process back in on the use it has spent', async () => {
    const { secret } = await makeToken(tenant, poolId, { max_uses: 1 })
    const bootId = crypto.randomUUID()
    const { body } = ok(await register({ token: secret, poolId, bootId }))
    ok(await call('DELETE', `/api/v1/pools/${poolId}/runners/${body.runner_id}`, { key: tenant.keys.admin }))
    expect(outcome(await register({ token: secret, poolId, bootId }))).toBe('token_used_up')
  })
})

describe('a runner’s name', () => {
  it('is taken while its runner is online, and the refusal counts no use', async () => {
    await makeRunner(tenant, poolId)
    const { id, secret } = await makeToken(tenant, poolId, { max_uses: 1 })
    expect(outcome(await register({ token: secret, poolId }))).toBe('runner_name_taken')
    expect(await usesOf(id)).toBe(0)
  })

  it('of an offline runner is taken over, with the same id', async () => {
    const runner = await makeRunner(tenant, poolId)
    await leave(runner)
    const { secret } = await makeToken(tenant, poolId)
    expect(ok(await register({ token: secret, poolId })).body.runner_id).toBe(runner.id)
  })

  it('is not mentioned to the holder of a used-up token', async () => {
    const { secret } = await makeToken(tenant, poolId, { max_uses: 1 })
    ok(await register({ token: secret, poolId }))
    expect(outcome(await register({ token: secret, poolId }))).toBe('token_used_up')
  })
})

describe('an address that has used up its calls', () => {
  const full = { LIMIT_UNAUTHENTICATED: { limit: async () => ({ success: false }) } }

  it('still registers runners with a good token, and retries for a taken name', async () => {
    const { secret } = await makeToken(tenant, poolId)
    expect(outcome(await register({ token: secret, poolId }, full))).toBe(201)
    expect(outcome(await register({ token: secret, poolId }, full))).toBe('runner_name_taken')
  })

  it('guesses no more tokens, and leaves no more audit rows', async () => {
    const rows = () => BINDINGS.DB.prepare('SELECT count(*) AS n FROM audit_events').first('n')
    const before = await rows()
    const guess = { token: mintSecret('registrationToken'), poolId }
    expect(outcome(await register(guess, full))).toBe('rate_limited')
    expect(await rows()).toBe(before)
    expect(outcome(await call('POST', '/runner/v1/register', { env: full }))).toBe('rate_limited')
  })
})

describe('the runner API', () => {
  it('leaves no object with state behind for pools that do not exist', async () => {
    const nowhere = mintId('pool')
    const runner = { id: mintId('runner'), poolId: nowhere, credential: mintSecret('runnerCredential') }
    expect(outcome(await sync({ ...runner, bootId: crypto.randomUUID() }))).toBe('not_found')
    const summary = await BINDINGS.RUNNER_POOL.getByName(nowhere).summary()
    expect(summary.ok).toBe(false)
  })

  it('ignores fields it does not know, as a newer runner sends them', async () => {
    const { secret } = await makeToken(tenant, poolId)
    const body = { ...registration({ token: secret, poolId }), invented_later: true }
    expect(outcome(await call('POST', '/runner/v1/register', { body }))).toBe(201)
  })

  it('audits a process that a newer one has replaced, and a refused token', async () => {
    const runner = await makeRunner(tenant, poolId)
    ok(await sync(runner, 1, { boot: 2, boot_id: crypto.randomUUID() }))
    expect(outcome(await sync(runner, 2))).toBe('boot_superseded')
    await register({ token: mintSecret('registrationToken'), poolId })
    const { body } = ok(await call('GET', '/api/v1/audit-events?limit=2', { key: tenant.keys.admin }))
    expect(body.items).toMatchObject([
      { action: 'credential.refused', target: poolId },
      { action: 'runner.boot_superseded', target: runner.id },
    ])
  })
})
