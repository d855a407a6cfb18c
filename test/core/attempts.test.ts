import { beforeEach, describe, expect, test } from 'vitest'
import { PAUSED_LOOK } from '../../durable-objects/runner-pool/core/assignment.ts'
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
    pool.pass(10_000)
    expect(runner.sync().offers).toHaveLength(end.retried === 'anywhere' ? 1 : 0)
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
    pool.pass(10_000)
    const second = runner.take()
    expect(second).not.toBe(first)
    runner.sync([exited(second, null, 'disk_full')])
    expect(pool.run('run_1')).toMatchObject({ status: 'failed', attempt: 2, failure: { code: 'disk_full' } })
  })

  test('keep their place in the queue', () => {
    pool.enqueue('run_first')
    const session = runner.take()
    pool.pass(1_000)
    pool.enqueue('run_second')
    runner.sync([exited(session, null, 'engine_error')], { draining: true })
    pool.pass(10_000)
    const [offer] = runner.sync().offers
    expect(offer?.run_id).toBe('run_first')
  })
})

describe('a runner that had the run', () => {
  /** How long the runner is offered nothing, by syncs at the very last moment before and at the end of the pause. */
  function expectPause(ms: number): string {
    expect(runner.sync().offers).toEqual([])
    pool.pass(ms - 1)
    expect(runner.sync().offers, `after ${ms - 1} ms`).toEqual([])
    pool.pass(1)
    return runner.take()
  }

  test('is not given it again for 10 s, then three times as long after each time: an outage burns no attempts', () => {
    pool.enqueue('run_1', { max_attempts: 5 })
    let session = runner.take()
    for (const pauseMs of [10_000, 30_000, 90_000, 270_000]) {
      runner.sync([exited(session, null, 'pull_failed')])
      session = expectPause(pauseMs)
    }
    runner.sync([exited(session, null, 'pull_failed')])
    expect(pool.run('run_1')).toMatchObject({
      status: 'failed',
      attempt: 5,
      failure: { code: 'pull_failed' },
    })
  })

  test('is never kept from it for more than five minutes', () => {
    pool.enqueue('run_1', { queue_timeout_seconds: 86_400 })
    for (const pauseMs of [10_000, 30_000, 90_000, 270_000, 300_000, 300_000]) {
      expect(runner.sync().offers).toHaveLength(1)
      pool.pass(RULES.offerTtlMs + RULES.leaseGraceMs)
      pool.sweep()
      expect(runner.sync().offers).toEqual([])
      pool.pass(pauseMs)
    }
    expect(runner.sync().offers).toHaveLength(1)
  })

  test('is kept from it for half of the time that the run has left at most, so that it does not end for that', () => {
    pool.enqueue('run_1', { max_attempts: 5, queue_timeout_seconds: 60 })
    let session = runner.take()
    for (const pauseMs of [10_000, 30_000, 30_000]) {
      runner.sync([exited(session, null, 'pull_failed')])
      session = expectPause(pauseMs)
    }
  })

  test('has it again although the others only seem to be able to take it: full, or short of memory', () => {
    const full = new TestRunner(pool, 'full', { max_concurrency: 1 })
    pool.enqueue('run_long', { labels: {} })
    const long = full.take()
    const small = new TestRunner(pool, 'small')
    const health = { memory_free_mb: 100, disk_free_mb: 9_000, load1: 0 }
    pool.enqueue('run_1', { resources: { memory_mb: 1_000 } })
    const session = runner.take()
    runner.sync([exited(session, null, 'pull_failed')])
    pool.pass(9_999)
    for (const other of [full, small]) {
      expect(other.sync(other === full ? [running(long)] : [], { health }).offers).toEqual([])
    }
    expect(runner.sync().offers).toEqual([])
    pool.pass(1)
    expect(runner.sync().offers).toHaveLength(1)
  })

  test('is given other runs meanwhile, however many it must leave to others', () => {
    for (let i = 0; i < 2 * PAUSED_LOOK; i++) pool.enqueue(`run_${String(i).padStart(2, '0')}`)
    let had = 0
    for (let { offers } = runner.sync(); offers.length > 0; had += 2) {
      const failed = offers.map(offer => exited(offer.session_id, null, 'disk_full'))
      offers = runner.sync(failed).offers
    }
    expect(had).toBe(2 * PAUSED_LOOK)
    pool.enqueue('run_fresh', { priority: -100 })
    expect(runner.sync().offers).toMatchObject([{ run_id: 'run_fresh' }])
    const other = new TestRunner(pool, 'two')
    expect(other.sync().offers).toMatchObject([{ run_id: 'run_00' }, { run_id: 'run_01' }])
    pool.pass(10_000)
    expect(runner.sync().offers).toMatchObject([{ run_id: 'run_fresh' }, { run_id: 'run_02' }])
  })

  test('and never listed its offer leaves it to others as well, and that spends no attempt', () => {
    pool.enqueue('run_1', { max_attempts: 1 })
    expect(runner.sync().offers).toHaveLength(1)
    pool.pass(RULES.offerTtlMs + RULES.leaseGraceMs)
    pool.sweep()
    pool.pass(9_999)
    expect(runner.sync().offers, 'it had it already').toEqual([])
    const other = new TestRunner(pool, 'two')
    const session = other.take()
    other.sync([exited(session, 0)])
    expect(pool.run('run_1')).toMatchObject({ status: 'succeeded', attempt: 2 })
  })
})

describe('a policy’s refusal', () => {
  const refuse = (who: TestRunner) => who.sync([exited(who.take(), null, 'policy_denied')])

  test('spends no attempt: whoever is willing gets the run', () => {
    const others = ['two', 'three'].map(name => new TestRunner(pool, name))
    for (const other of others) other.sync()
    pool.enqueue('run_1', { max_attempts: 1 })
    const [second, willing] = others
    refuse(runner)
    if (second !== undefined) refuse(second)
    pool.pass(400_000)
    expect(runner.sync().offers, 'it never has it again').toEqual([])
    const session = willing?.take() ?? ''
    willing?.sync([exited(session, null, 'engine_error')])
    expect(pool.run('run_1')).toMatchObject({
      status: 'failed',
      attempt: 3,
      failure: { code: 'engine_error' },
    })
  })

  describe('right after a hibernation, in a pool of many runners', () => {
    const labels = { zone: 'a' }

    function refusedAmongMany(): void {
      const strict = new TestRunner(pool, 'strict', { labels })
      for (let i = 0; i < 25; i++) new TestRunner(pool, `z${i}`).sync()
      pool.enqueue('run_1', { labels })
      const session = strict.take()
      pool.evict()
      strict.sync([exited(session, null, 'policy_denied')])
    }

    test('leaves the run to a willing runner that has not been heard of since', () => {
      const willing = new TestRunner(pool, '00willing', { labels })
      willing.sync([], { draining: true })
      refusedAmongMany()
      expect(pool.run('run_1').status).toBe('queued')
      pool.pass(10_000)
      pool.sweep()
      expect(willing.sync().offers).toHaveLength(1)
    })

    test('ends it within ten seconds when there is none', () => {
      refusedAmongMany()
      expect(pool.sweep()).toBeLessThanOrEqual(pool.now + 10_000)
      expect(pool.run('run_1').status).toBe('queued')
      pool.pass(10_000)
      pool.sweep()
      expect(pool.run('run_1')).toMatchObject({ status: 'failed', failure: { code: 'policy_denied' } })
    })
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

  test('takes up no slot when its time is over before the alarm comes', () => {
    for (let i = 0; i < 5; i++) pool.enqueue(`run_${i}`, { queue_timeout_seconds: 60 })
    pool.enqueue('run_last', { priority: -100 })
    pool.pass(60_000)
    expect(runner.sync().offers).toMatchObject([{ run_id: 'run_last' }])
    expect(pool.run('run_0').failure?.code).toBe('queue_timeout')
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
