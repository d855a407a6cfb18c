import { beforeEach, describe, expect, test } from 'vitest'
import { remove, setRunnerState } from '../../durable-objects/runner-pool/core/runners.ts'
import type { FailureCode, RunStatus } from '../../protocol/run.ts'
import type { ExitReason } from '../../protocol/runner-api.ts'
import { EXIT_REASONS } from '../../protocol/runner-api.ts'
import { exited, RULES, running, TestPool, TestRunner } from './pool-fixture.ts'

let pool: TestPool
let runner: TestRunner
beforeEach(() => {
  pool = new TestPool()
  runner = new TestRunner(pool, 'one')
})

interface End {
  readonly status: RunStatus
  readonly failure: FailureCode | null
  /** Whether another attempt follows while attempts are left. */
  readonly retried: 'never' | 'anywhere' | 'elsewhere'
}

/** Typed without `Partial`: a new exit reason does not compile until its end is written down. */
const ENDS: Record<ExitReason, End> = {
  exited: { status: 'failed', failure: 'non_zero_exit', retried: 'never' },
  stopped: { status: 'lost', failure: 'runner_lost_session', retried: 'anywhere' },
  timed_out: { status: 'timed_out', failure: 'timeout', retried: 'never' },
  oom: { status: 'failed', failure: 'oom', retried: 'never' },
  command_not_found: { status: 'failed', failure: 'command_not_found', retried: 'never' },
  image_not_found: { status: 'failed', failure: 'image_not_found', retried: 'never' },
  image_auth: { status: 'failed', failure: 'image_auth', retried: 'never' },
  pull_failed: { status: 'failed', failure: 'pull_failed', retried: 'anywhere' },
  network_unreachable: { status: 'failed', failure: 'network_unreachable', retried: 'anywhere' },
  engine_error: { status: 'failed', failure: 'engine_error', retried: 'anywhere' },
  disk_full: { status: 'failed', failure: 'disk_full', retried: 'anywhere' },
  policy_denied: { status: 'failed', failure: 'policy_denied', retried: 'elsewhere' },
}

describe.each(EXIT_REASONS)('an exit for the reason %s', reason => {
  const end = ENDS[reason]

  test('ends the run of one attempt as the table says', () => {
    pool.enqueue('run_1', { max_attempts: 1 })
    const session = runner.take()
    runner.sync([exited(session, 9, reason)])
    expect(pool.run('run_1')).toMatchObject({
      status: end.status,
      exit_code: 9,
      failure: { code: end.failure },
    })
  })

  test('is followed by another attempt on the same runner only where the table says', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    runner.sync([exited(session, 9, reason)], { draining: true })
    expect(pool.run('run_1').status).toBe(end.retried === 'anywhere' ? 'queued' : end.status)
  })

  test('is followed by another attempt on another runner unless never', () => {
    const other = new TestRunner(pool, 'two')
    pool.enqueue('run_1')
    const session = runner.take()
    expect(runner.sync([exited(session, 9, reason)]).offers, 'not where it just failed').toEqual([])
    const offers = other.sync().offers.map(offer => offer.attempt)
    expect(offers).toEqual(end.retried === 'never' ? [] : [2])
  })
})

describe('an exit with code 0', () => {
  test('is a success', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    runner.sync([exited(session, 0)])
    expect(pool.run('run_1')).toMatchObject({ status: 'succeeded', exit_code: 0, failure: null })
  })

  test('without a known code is nobody’s success', () => {
    pool.enqueue('run_1', { max_attempts: 1 })
    const session = runner.take()
    runner.sync([exited(session, null)])
    expect(pool.run('run_1')).toMatchObject({ status: 'failed', failure: { code: 'engine_error' } })
  })
})

describe('attempts', () => {
  test('are limited, and the last one’s failure is the run’s', () => {
    pool.enqueue('run_1', { max_attempts: 2 })
    const first = runner.take()
    runner.sync([exited(first, null, 'engine_error')])
    const second = runner.take()
    expect(second).not.toBe(first)
    runner.sync([exited(second, null, 'disk_full')])
    expect(pool.run('run_1')).toMatchObject({ status: 'failed', attempt: 2, failure: { code: 'disk_full' } })
  })

  test('return to the same runner when the other one goes away', () => {
    new TestRunner(pool, 'two')
    pool.enqueue('run_1')
    const session = runner.take()
    expect(runner.sync([exited(session, null, 'engine_error')]).offers).toEqual([])
    pool.pass(100_000)
    expect(runner.sync().offers).toHaveLength(1)
  })

  test.each([
    ['has too little memory', { platform: { os: 'linux', arch: 'x64', cpus: 1, memory_mb: 500 } }, 2],
    ['offers no slot', {}, 0],
  ])('return to the same runner when the other one %s', (_, input, slots) => {
    const other = new TestRunner(pool, 'two', input)
    other.sync([], { slots: { max: slots } })
    pool.enqueue('run_1', { resources: { memory_mb: 4_000 } })
    const session = runner.take()
    expect(runner.sync([exited(session, null, 'engine_error')]).offers).toHaveLength(1)
  })

  test('keep their place in the queue', () => {
    pool.enqueue('run_first')
    const session = runner.take()
    pool.pass(1_000)
    pool.enqueue('run_second')
    const [offer] = runner.sync([exited(session, null, 'engine_error')]).offers
    expect(offer?.run_id).toBe('run_first')
  })
})

describe('a run that nobody takes', () => {
  test('ends after its queue timeout', () => {
    pool.enqueue('run_1', { queue_timeout_seconds: 60 })
    pool.pass(59_999)
    pool.sweep()
    expect(pool.run('run_1').status).toBe('queued')
    pool.pass(1)
    pool.sweep()
    expect(pool.run('run_1')).toMatchObject({
      status: 'failed',
      failure: { code: 'queue_timeout', domain: 'runner' },
    })
    expect(runner.sync().offers).toEqual([])
  })

  test('is given its whole time again after an attempt, but not after a lapsed offer', () => {
    pool.enqueue('run_1', { queue_timeout_seconds: 60 })
    const session = runner.take()
    pool.pass(59_000)
    runner.sync([running(session)])
    pool.pass(30_000)
    runner.sync([exited(session, null, 'engine_error')], { draining: true })
    pool.sweep()
    expect(pool.run('run_1').status).toBe('queued')
    pool.pass(59_000)
    runner.sync()
    pool.pass(RULES.offerTtlMs + RULES.leaseGraceMs)
    pool.sweep()
    expect(pool.run('run_1')).toMatchObject({ status: 'failed', failure: { code: 'queue_timeout' } })
  })
})

describe('a removed runner', () => {
  function removeIt(force: boolean): void {
    pool.decide(ctx => {
      const record = ctx.store.runners.get(runner.id)
      if (record !== null) remove(ctx, record, force)
    })
  }

  test('is nobody at once, and its runs are queued again at TTL and grace from their last renewal', () => {
    pool.enqueue('run_1')
    runner.take()
    pool.pass(10_000)
    removeIt(false)
    expect(() => runner.sync()).toThrow('unauthenticated')
    pool.pass(RULES.leaseTtlMs + RULES.leaseGraceMs - 10_001)
    pool.sweep()
    expect(pool.run('run_1').status).toBe('starting')
    pool.pass(1)
    pool.sweep()
    expect(pool.run('run_1').status).toBe('queued')
    expect(pool.store.runners.get(runner.id)).toBeNull()
  })

  test.each([true, false])('does not spend an attempt of a run it never listed; force %s', force => {
    pool.enqueue('run_1', { max_attempts: 1 })
    runner.sync()
    removeIt(force)
    pool.pass(RULES.offerTtlMs + RULES.leaseGraceMs)
    pool.sweep()
    expect(pool.run('run_1').status).toBe('queued')
    expect(pool.events('run_1')).toContain('offer_lapsed')
  })

  test('with force gives its runs back now, and the last attempt’s code says why', () => {
    pool.enqueue('run_1', { max_attempts: 1 })
    runner.take()
    removeIt(true)
    expect(pool.run('run_1')).toMatchObject({ status: 'lost', failure: { code: 'runner_removed' } })
  })

  test('leaves its name free for a new runner with an id of its own', () => {
    pool.enqueue('run_1')
    runner.take()
    removeIt(false)
    const next = new TestRunner(pool, 'one', { fresh_runner_id: 'rnr_fresh', credential_hash: 'fresh' })
    expect(next.id).toBe('rnr_fresh')
    expect(next.sync().stale).toBe(false)
  })
})

describe('a name', () => {
  test('of an online runner is taken; of an offline one it passes on with its id', () => {
    expect(() => new TestRunner(pool, 'one', { boot_id: 'another-boot' })).toThrow('runner_name_taken')
    pool.pass(60_000)
    const next = new TestRunner(pool, 'one', { boot_id: 'another-boot', credential_hash: 'fresh' })
    expect(next.id).toBe(runner.id)
    expect(() => runner.sync()).toThrow('unauthenticated')
  })

  test('asked for again by the same process before its first sync gives the same runner a fresh credential', () => {
    const again = new TestRunner(pool, 'one', { credential_hash: 'fresh' })
    expect(again.id).toBe(runner.id)
    expect(() => runner.sync()).toThrow('unauthenticated')
    again.sync()
    expect(() => new TestRunner(pool, 'one', { credential_hash: 'third' })).toThrow('runner_name_taken')
  })

  test('taken over on the same Engine: two inventories without the session end it', () => {
    pool.enqueue('run_1', { max_attempts: 1 })
    runner.take()
    pool.pass(50_000)
    const next = new TestRunner(pool, 'one', { boot_id: 'wiped', credential_hash: 'fresh' })
    next.sync()
    next.sync()
    expect(pool.run('run_1').failure?.code).toBe('runner_lost_session')
  })

  test('taken over on another Engine: the session ends at its own time and not sooner', () => {
    pool.enqueue('run_1', { max_attempts: 1 })
    runner.take()
    pool.pass(50_000)
    const elsewhere = {
      boot_id: 'wiped',
      credential_hash: 'fresh',
      engine: { id: 'engine-elsewhere', version: '20' },
    }
    const next = new TestRunner(pool, 'one', elsewhere)
    for (let i = 0; i < 4; i++) next.sync()
    expect(pool.run('run_1').status).toBe('starting')
    pool.pass(10_000)
    pool.sweep()
    expect(pool.run('run_1').failure?.code).toBe('lease_expired')
  })
})

describe('draining a runner', () => {
  test('gives no new lease, lets running sessions finish, and resume gives leases again', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    pool.enqueue('run_2')
    const drain = (state: 'active' | 'draining') =>
      pool.decide(ctx => setRunnerState(ctx, runner.id, state, state === 'active' ? null : 'kernel update'))
    drain('draining')
    const reply = runner.sync([running(session)])
    expect(reply.offers).toEqual([])
    expect(reply.runner).toEqual({ state: 'draining', note: 'kernel update' })
    runner.sync([exited(session, 0)])
    expect(pool.run('run_1').status).toBe('succeeded')
    drain('active')
    expect(runner.sync().offers).toHaveLength(1)
  })
})
