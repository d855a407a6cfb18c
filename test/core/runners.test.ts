import { beforeEach, describe, expect, test } from 'vitest'
import {
  findRunner,
  removeRunner,
  rotateCredential,
  setRunnerState,
  toRunner,
} from '../../durable-objects/runner-pool/core/runners.ts'
import { sync } from '../../durable-objects/runner-pool/core/sync.ts'
import type { SyncRequest } from '../../protocol/runner-api.ts'
import { exited, RULES, running, TestPool, TestRunner } from './pool-fixture.ts'

let pool: TestPool
let runner: TestRunner
beforeEach(() => {
  pool = new TestPool()
  runner = new TestRunner(pool, 'one')
})

function shown() {
  return pool.decide(ctx => {
    const record = findRunner(ctx, runner.id)
    if (record === null) throw new Error('the runner is gone')
    return toRunner(ctx, record)
  })
}

describe('a registration', () => {
  test('under the name of a drained runner leaves it drained, with the reason', () => {
    pool.decide(ctx => setRunnerState(ctx, runner.id, 'draining', 'kernel update'))
    pool.pass(60_000)
    const next = new TestRunner(pool, 'one', { boot_id: 'another-boot', credential_hash: 'fresh' })
    pool.enqueue('run_1')
    expect(next.sync()).toMatchObject({
      offers: [],
      runner: { state: 'draining', note: 'kernel update' },
    })
    expect(shown()).toMatchObject({ status: 'draining', note: 'kernel update' })
  })

  test('of the same process with another token is no repetition of the first', () => {
    expect(() => new TestRunner(pool, 'one', { token_id: 'tok_2', credential_hash: 'fresh' })).toThrow(
      'runner_name_taken',
    )
    expect(runner.sync().stale).toBe(false)
  })
})

describe('a runner that was removed', () => {
  const removeIt = (force: boolean) => pool.decide(ctx => removeRunner(ctx, runner.id, force))
  const NOT_FOUND = { ok: false, error: { code: 'not_found' } }

  test('can be removed by force as long as a run of it waits for its lease to end, and then no more', () => {
    pool.enqueue('run_1')
    runner.take()
    expect(removeIt(false)).toMatchObject({ ok: true })
    expect(pool.run('run_1').status).toBe('starting')
    expect(removeIt(false)).toMatchObject(NOT_FOUND)
    expect(removeIt(true)).toMatchObject({ ok: true })
    expect(pool.run('run_1').status).toBe('queued')
    expect(removeIt(true)).toMatchObject(NOT_FOUND)
  })

  test('is not there once its leases have ended, whether or not anybody has tidied up', () => {
    pool.enqueue('run_1')
    runner.take()
    removeIt(false)
    pool.pass(RULES.leaseTtlMs + RULES.leaseGraceMs)
    expect(pool.run('run_1').status).toBe('queued')
    expect(removeIt(true)).toMatchObject(NOT_FOUND)
  })
})

describe('a runner without a doorbell is offline', () => {
  test.each([
    [60_000, 180_000],
    [15_000, 45_000],
    [1_000, 45_000],
  ])('told to sync every %i ms, after %i ms', (syncIdleMs, offlineAfterMs) => {
    pool.rules = { ...RULES, syncIdleMs }
    expect(runner.sync().next_sync_in_ms).toBe(syncIdleMs)
    pool.pass(offlineAfterMs - 1)
    expect(shown().status).toBe('online')
    pool.pass(1)
    expect(shown().status).toBe('offline')
  })
})

describe('the agent image that a runner starts', () => {
  const seen = () => {
    const { agent_version, agent_mismatch } = shown()
    return [agent_version, agent_mismatch]
  }

  test('is of another release line until the runner says otherwise', () => {
    expect(seen()).toEqual([null, false])
    runner.sync([], { version: '0.1.0', agent_version: '0.2.0' })
    expect(seen()).toEqual(['0.2.0', true])
    runner.sync()
    pool.evict()
    expect(seen()).toEqual(['0.2.0', true])
    runner.sync([], { agent_version: '0.1.7' })
    expect(seen()).toEqual(['0.1.7', false])
  })

  test('is of another one as soon as the runner is', () => {
    runner.sync([], { version: '0.1.0', agent_version: '0.1.0' })
    expect(seen()).toEqual(['0.1.0', false])
    runner.restart()
    runner.sync([], { version: '1.0.0' })
    expect(seen()).toEqual(['0.1.0', true])
  })

  test('is not known of a runner that an older release has stored', () => {
    pool.sql.exec("UPDATE runners SET profile = json_remove(profile, '$.agentVersion')")
    expect(seen()).toEqual([null, false])
    runner.sync([], { agent_version: '0.2.0' })
    expect(seen()).toEqual(['0.2.0', true])
  })
})

test('a sync that wrote nothing is still the last one: repeated, it is stale', () => {
  runner.sync()
  const request = runner.request()
  const before = pool.store.runners.get(runner.id)
  expect(runner.send(request).stale).toBe(false)
  expect(pool.store.runners.get(runner.id), 'it wrote nothing').toEqual(before)
  expect(runner.send(request).stale).toBe(true)
})

describe('labels that a restarted runner brings', () => {
  test('are its labels from that sync on: it is given the runs that wait for them, and no others', () => {
    pool.enqueue('run_1', { labels: { zone: 'b' } })
    expect(runner.sync().offers).toEqual([])
    runner.restart()
    expect(runner.sync([], { labels: { zone: 'b' } }).offers).toMatchObject([{ run_id: 'run_1' }])
    expect(shown().labels).toEqual({ zone: 'b' })
    pool.evict()
    pool.enqueue('run_2', { labels: { zone: 'b' } })
    expect(runner.sync([], { labels: { zone: 'c' } }).offers.map(offer => offer.run_id)).toEqual(['run_1'])
    expect(shown().labels).toEqual({ zone: 'c' })
  })

  test('are news to whoever else could take the runs, and only when they are others than before', () => {
    const changes = (labels?: SyncRequest['labels']) =>
      pool.decide(ctx => {
        sync(ctx, runner.id, runner.hash, runner.request([], labels === undefined ? {} : { labels }))
        return ctx.effects.workWaits
      })
    expect(changes({ zone: 'b', disk: 'fast' })).toBe(true)
    expect(changes({ disk: 'fast', zone: 'b' })).toBe(false)
    expect(changes()).toBe(false)
    expect(changes({ zone: 'b' })).toBe(true)
    expect(shown().labels).toEqual({ zone: 'b' })
  })
})

describe('the next credential is the only one after its first use', () => {
  const say = (hash: string, request: SyncRequest) => pool.decide(ctx => sync(ctx, runner.id, hash, request))

  test.each<[string, () => SyncRequest, unknown]>([
    ['applied', () => runner.request(), { ok: true, value: { stale: false } }],
    ['stale', () => runner.request([], { seq: 0 }), { ok: true, value: { stale: true } }],
    [
      'superseded',
      () => runner.request([], { boot_id: 'clone-boot' }),
      { ok: false, error: { code: 'boot_superseded' } },
    ],
  ])('in a sync that is %s', (_, request, answer) => {
    runner.sync()
    pool.decide(ctx => rotateCredential(ctx, runner.id, runner.hash, 'next'))
    expect(say('next', request())).toMatchObject(answer as object)
    expect(say(runner.hash, runner.request())).toMatchObject({ error: { code: 'unauthenticated' } })
    expect(say('next', runner.request())).toMatchObject({ ok: true })
  })
})

describe('a run that waits again shows nothing of its last attempt', () => {
  const WAITING = { status: 'queued', session_id: null, runner_id: null, started_at: null }

  test('after one that failed', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    runner.sync([{ ...running(session), image_digest: 'sha256:1' }])
    expect(pool.run('run_1')).toMatchObject({ session_id: session, runner_id: runner.id })
    expect(pool.run('run_1').started_at).not.toBeNull()
    runner.sync([exited(session, 7, 'engine_error')], { draining: true })
    expect(pool.run('run_1')).toMatchObject({ ...WAITING, image_digest: null, exit_code: null, attempt: 1 })
  })

  test('after an offer that lapsed', () => {
    pool.enqueue('run_1')
    expect(runner.sync().offers).toHaveLength(1)
    pool.pass(RULES.offerTtlMs + RULES.leaseGraceMs)
    pool.sweep()
    expect(pool.run('run_1')).toMatchObject({ ...WAITING, attempt: 1 })
  })
})
