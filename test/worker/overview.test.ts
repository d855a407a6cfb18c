import { runDurableObjectAlarm } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { beforeAll, describe, expect, it } from 'vitest'
import { projectRuns } from '../../durable-objects/runner-pool/projection.ts'
import { Overview, PoolHistory, type PoolSample } from '../../protocol/overview.ts'
import type { Run, TerminalStatus } from '../../protocol/run.ts'
import { timestamp } from '../../protocol/text.ts'
import { openDirectory } from '../../worker/directory/database.ts'
import { expiringTokens } from '../../worker/directory/registration-tokens.ts'
import { outcomesSince } from '../../worker/directory/run-outcomes.ts'
import { firstIdAt } from '../../worker/ids.ts'
import { together } from '../../worker/overview/series.ts'
import { call, outcome } from './client.ts'
import { readsOf } from './d1-reads.ts'
import {
  makeEnvironment,
  makePool,
  makeRun,
  makeRunner,
  makeTenant,
  makeToken,
  ok,
  registration,
  sync,
  type TestTenant,
  takeOffer,
} from './world.ts'

const HOUR_MS = 3_600_000
const MINUTE_MS = 60_000

async function look(tenant: TestTenant, query = '', role: 'admin' | 'viewer' = 'admin'): Promise<Overview> {
  return Overview.parse(ok(await call('GET', `/api/v1/overview${query}`, { key: tenant.keys[role] })).body)
}

let made = 0
async function endedRun(tenantId: string, status: TerminalStatus, at: number): Promise<string> {
  made += 1
  const run = {
    id: `${firstIdAt('run', at).slice(0, -6)}${String(made).padStart(6, '0')}`,
    environment_id: firstIdAt('environment', at),
    pool_id: firstIdAt('pool', at),
    status,
    finished_at: timestamp(at),
  } as Run
  await projectRuns(env.DB, [{ tenantId, version: 1, run, events: [] }])
  return run.id
}

describe('an overview', () => {
  it('of a tenant without pools is all zeros', async () => {
    expect(await look(await makeTenant(), '', 'viewer')).toEqual({
      hours: 24,
      now: {
        runners_online: 0,
        runners_total: 0,
        slots_total: 0,
        slots_busy: 0,
        queued: 0,
        oldest_queued_seconds: null,
      },
      outcomes: { succeeded: 0, failed: 0, timed_out: 0, cancelled: 0, lost: 0 },
      samples: [],
      attention: [],
      unavailable: [],
    })
  })

  it('adds the pools up, and says first where runs wait for a runner', async () => {
    const tenant = await makeTenant()
    const [served, stranded] = [await makePool(tenant), await makePool(tenant)]
    const runner = await makeRunner(tenant, served)
    await makeRun(tenant, await makeEnvironment(tenant, served))
    await takeOffer(runner)
    await makeRun(tenant, await makeEnvironment(tenant, stranded))
    await makeRun(tenant, await makeEnvironment(tenant, stranded))
    const { now, attention } = await look(tenant)
    expect(now).toMatchObject({
      runners_online: 1,
      runners_total: 1,
      slots_total: 2,
      slots_busy: 1,
      queued: 2,
    })
    expect(now.oldest_queued_seconds).not.toBeNull()
    expect(attention).toEqual([{ kind: 'no_runner_online', pool_id: stranded, pool_name: 'east', queued: 2 }])
  })

  it('counts what ended within the hours asked for, of this tenant', async () => {
    const [tenant, other] = [await makeTenant(), await makeTenant()]
    const now = Date.now()
    await endedRun(tenant.id, 'succeeded', now - 2 * HOUR_MS)
    await endedRun(tenant.id, 'succeeded', now - 23 * HOUR_MS)
    await endedRun(tenant.id, 'failed', now - 25 * HOUR_MS)
    await endedRun(tenant.id, 'lost', now - 2 * HOUR_MS)
    const latest = await endedRun(tenant.id, 'lost', now - HOUR_MS / 2)
    await endedRun(other.id, 'lost', now)
    const day = await look(tenant)
    expect(day.outcomes).toEqual({ succeeded: 2, failed: 0, timed_out: 0, cancelled: 0, lost: 2 })
    expect(day.attention).toEqual([{ kind: 'runs_lost', count: 2, latest_run_id: latest }])
    expect((await look(tenant, '?hours=1')).outcomes).toMatchObject({ succeeded: 0, lost: 1 })
    expect((await look(tenant, '?hours=48')).outcomes).toMatchObject({ succeeded: 2, failed: 1 })
  })

  it('counts a run of a real runner once it has ended', async () => {
    const tenant = await makeTenant()
    const runner = await makeRunner(tenant, await makePool(tenant))
    await makeRun(tenant, await makeEnvironment(tenant, runner.poolId))
    const session_id = await takeOffer(runner)
    ok(
      await sync(runner, 3, {
        leases: [{ session_id, state: 'exited', exit: { code: 3, reason: 'exited' } }],
      }),
    )
    await runDurableObjectAlarm(env.RUNNER_POOL.getByName(runner.poolId))
    expect((await look(tenant)).outcomes).toMatchObject({ succeeded: 0, failed: 1 })
  })

  it('names runners that are offline or behind, and tokens that end within a day and were missed', async () => {
    const tenant = await makeTenant()
    const pool = await makePool(tenant)
    const join = async (name: string, lifeSeconds: number, version: string) => {
      const token = await makeToken(tenant, pool, { name, expires_in_seconds: lifeSeconds })
      const body = { ...registration({ token: token.secret, poolId: pool, name }), version }
      const { runner_id, credential } = ok(await call('POST', '/runner/v1/register', { body })).body
      return { token: token.id, runner: { id: runner_id, poolId: pool, credential, bootId: body.boot_id } }
    }
    const day = 86_400
    const old = await join('old', 30 * day, '0.0.9')
    const left = await join('left', 30 * day, '0.1.0')
    const short = await join('short', 3600, '0.1.0')
    const ends = await join('ends', 2 * day, '0.1.0')
    await makeToken(tenant, pool, { name: 'unused', expires_in_seconds: 2 * day })
    ok(await sync(left.runner, 1, { leaving: true }))
    // A day and a bit later the token of two days has less than a day to go.
    await env.DB.prepare(
      'UPDATE registration_tokens SET created_at = created_at - ?1, expires_at = expires_at - ?1',
    )
      .bind(25 * HOUR_MS)
      .run()
    const about = { pool_id: pool, pool_name: 'east' }
    const { attention } = await look(tenant)
    expect(attention).toEqual([
      {
        kind: 'runner_offline',
        ...about,
        runner_id: left.runner.id,
        runner_name: 'left',
        since: expect.any(String),
      },
      {
        kind: 'token_expiring',
        ...about,
        token_id: ends.token,
        token_name: 'ends',
        expires_at: expect.any(String),
      },
      { kind: 'version_behind', ...about, runner_id: old.runner.id, runner_name: 'old', version: '0.0.9' },
    ])
    expect(short.token).not.toBe(ends.token)
    const kinds = (await look(tenant, '', 'viewer')).attention.map(one => one.kind)
    expect(kinds).toEqual(['runner_offline', 'version_behind'])
  })

  it('goes without a pool that cannot be asked, and names it', async () => {
    const tenant = await makeTenant()
    const [good, broken] = [await makePool(tenant), await makePool(tenant)]
    await makeRunner(tenant, good)
    const RUNNER_POOL = {
      getByName: (name: string) =>
        name === broken
          ? { overview: () => Promise.reject(new Error('the object was reset')) }
          : env.RUNNER_POOL.getByName(name),
    }
    const answer = await call('GET', '/api/v1/overview', { key: tenant.keys.viewer, env: { RUNNER_POOL } })
    const { now, unavailable } = Overview.parse(ok(answer).body)
    expect(unavailable).toEqual([broken])
    expect(now.runners_online).toBe(1)
  })

  it('names at most 50 things, the most urgent first', async () => {
    const tenant = await makeTenant()
    const [many, stranded] = [await makePool(tenant), await makePool(tenant)]
    const { secret } = await makeToken(tenant, many)
    for (let i = 0; i < 55; i++) {
      const body = { ...registration({ token: secret, poolId: many, name: `r${i}` }), version: '0.0.1' }
      ok(await call('POST', '/runner/v1/register', { body }))
    }
    await makeRun(tenant, await makeEnvironment(tenant, stranded))
    const { attention, now } = await look(tenant)
    expect(now.runners_online).toBe(55)
    expect(attention).toHaveLength(50)
    expect(attention[0]?.kind).toBe('no_runner_online')
  })

  it.each(['0', '721', '-1', '1.5', 'x', ''])('needs hours from 1 to 720: "%s" are none', async hours => {
    const tenant = await makeTenant()
    const answer = await call('GET', `/api/v1/overview?hours=${hours}`, { key: tenant.keys.viewer })
    expect(outcome(answer)).toBe('invalid_request')
  })
})

describe('a history', () => {
  it('has the samples of a pool, and of all pools together in the overview', async () => {
    const tenant = await makeTenant()
    const pool = await makePool(tenant)
    await makeRun(tenant, await makeEnvironment(tenant, pool))
    const path = `/api/v1/pools/${pool}/history?hours=1`
    await runDurableObjectAlarm(env.RUNNER_POOL.getByName(pool))
    const { items } = PoolHistory.parse(ok(await call('GET', path, { key: tenant.keys.viewer })).body)
    expect(items).toMatchObject([{ queued: 1, slots_busy: 0, slots_total: 0 }])
    expect((await look(tenant)).samples).toMatchObject([{ queued: 1, slots_busy: 0, slots_total: 0 }])
  })
})

describe('the samples of several pools', () => {
  const start = Date.parse('2026-01-01T00:00:00Z')
  const at = (step: number, queued: number, slots_busy: number, slots_total = 2): PoolSample => ({
    at: timestamp(start + step * MINUTE_MS),
    queued,
    slots_busy,
    slots_total,
    oldest_queued_seconds: queued === 0 ? null : queued * 10,
  })
  const shown = (samples: PoolSample[]) =>
    samples.map(one => [
      (Date.parse(one.at) - start) / MINUTE_MS,
      one.queued,
      one.slots_busy,
      one.slots_total,
      one.oldest_queued_seconds,
    ])

  it('are added up where any has one, and the oldest of all is the oldest', () => {
    const a = [at(0, 1, 0), at(1, 2, 1), at(2, 0, 0)]
    const b = [at(1, 5, 3, 4), at(2, 4, 4, 4)]
    expect(shown(together([a, b], MINUTE_MS))).toEqual([
      [0, 1, 0, 2, 10],
      [1, 7, 4, 6, 50],
      [2, 4, 4, 6, 40],
    ])
  })

  it('stand for a step that has none, and not for the time after their stretch', () => {
    const a = [at(0, 3, 1), at(2, 3, 1), at(3, 0, 0)]
    const b = [at(1, 1, 0), at(2, 1, 0), at(20, 1, 0)]
    const c = [at(2, 7, 0)]
    expect(shown(together([a, b, c], MINUTE_MS))).toEqual([
      [0, 3, 1, 2, 30],
      [1, 4, 1, 4, 30],
      [2, 11, 1, 6, 70],
      [3, 8, 0, 6, 70],
      [20, 1, 0, 6, 10],
    ])
  })

  it('are none where no pool has any', () => {
    expect(together([[], []], MINUTE_MS)).toEqual([])
  })
})

describe('what an overview reads of the directory', () => {
  let tenant: TestTenant
  const now = Date.now()
  beforeAll(async () => {
    tenant = await makeTenant()
    const row =
      'INSERT INTO runs (id, tenant_id, pool_id, environment_id, status, version, finished_at, document)'
    const numbers =
      'WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 10000)'
    const values = (id: string, status: string, end: string) =>
      `${numbers} ${row} SELECT printf('${id}%05d', n), ?1, 'pol_1', 'env_1', ${status}, 1, ${end}, '{}' FROM numbers`
    await env.DB.batch([
      env.DB.prepare(values('run_old', "'succeeded'", '1000 + n')).bind(tenant.id),
      env.DB.prepare(values('run_live', "'running'", 'NULL')).bind(tenant.id),
      env.DB.prepare(values('run_theirs', "'lost'", String(now))).bind('ten_other'),
    ])
    for (let i = 0; i < 20; i++) await endedRun(tenant.id, i % 2 ? 'succeeded' : 'lost', now - i * 1000)
  })

  it('is the runs that ended in time, and no others', async () => {
    const { rows, plan } = await readsOf(env.DB, async database => {
      const { counts } = await outcomesSince(openDirectory(database), tenant.id, now - HOUR_MS)
      expect(counts).toEqual({ succeeded: 10, failed: 0, timed_out: 0, cancelled: 0, lost: 10 })
    })
    expect(rows).toBeLessThanOrEqual(50)
    const searches = plan.filter(step => / runs( |$)/.test(step))
    expect(searches).toHaveLength(6)
    for (const step of searches) {
      expect(step).toMatch(
        /SEARCH runs USING (COVERING )?INDEX runs_by_end \(tenant_id=\? AND status=\? AND finished_at>\?\)/,
      )
    }
  })

  it('is the tokens that end soon, by an index of their ends', async () => {
    const { plan } = await readsOf(env.DB, database =>
      expiringTokens(openDirectory(database), tenant.id, now, 24 * HOUR_MS),
    )
    expect(plan).toEqual([
      'SEARCH registration_tokens USING INDEX registration_tokens_by_end (tenant_id=? AND expires_at>? AND expires_at<?)',
    ])
  })
})
