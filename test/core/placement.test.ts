import { beforeEach, describe, expect, test } from 'vitest'
import { explain } from '../../durable-objects/runner-pool/core/placement.ts'
import { doorbellLost, setRunnerState, toRunner } from '../../durable-objects/runner-pool/core/runners.ts'
import { exited, running, TestPool, TestRunner } from './pool-fixture.ts'

let pool: TestPool
beforeEach(() => {
  pool = new TestPool()
})

function why(runId: string) {
  const run = pool.store.runs.get(runId)
  if (run === null) throw new Error(`no run ${runId}`)
  return pool.decide(ctx => explain(ctx, run))
}

describe('a waiting run says why it waits', () => {
  test('for a runner: there is none, or none is online', () => {
    pool.enqueue('run_1')
    expect(why('run_1')).toEqual({ waiting_for: 'runner', candidates: [] })
    const runner = new TestRunner(pool, 'one')
    pool.pass(100_000)
    expect(why('run_1')).toMatchObject({
      waiting_for: 'runner',
      candidates: [{ runner_id: runner.id, name: 'one', eligible: false, reasons: ['offline'] }],
    })
  })

  test('for a label: the key that is missing is named', () => {
    new TestRunner(pool, 'one', { labels: { os: 'linux' } })
    pool.enqueue('run_1', { labels: { os: 'linux', zone: 'b' } })
    expect(why('run_1')).toMatchObject({ waiting_for: 'label', candidates: [{ reasons: ['label:zone'] }] })
  })

  test('for a slot: every fitting runner is full', () => {
    const runner = new TestRunner(pool, 'one', { max_concurrency: 1 })
    pool.enqueue('run_1')
    runner.take()
    pool.enqueue('run_2')
    expect(why('run_2')).toMatchObject({ waiting_for: 'slot', candidates: [{ reasons: ['no_slot'] }] })
  })

  test('for resume: the runner or the whole pool is draining, or the feature is off', () => {
    const runner = new TestRunner(pool, 'one')
    pool.enqueue('run_1')
    pool.decide(ctx => setRunnerState(ctx, runner.id, 'draining', null))
    expect(why('run_1')).toMatchObject({ waiting_for: 'resume', candidates: [{ reasons: ['draining'] }] })
    pool.decide(ctx => setRunnerState(ctx, runner.id, 'active', null))
    pool.offersAllowed = false
    expect(why('run_1')).toMatchObject({
      waiting_for: 'resume',
      candidates: [{ reasons: ['pool_draining'] }],
    })
  })

  test('for memory or disk: what the runner last reported does not suffice', () => {
    const runner = new TestRunner(pool, 'one')
    pool.enqueue('run_1', { resources: { memory_mb: 4096 } })
    runner.sync([], { health: { memory_free_mb: 512, disk_free_mb: 9, load1: 0 } })
    expect(why('run_1')).toMatchObject({ waiting_for: 'memory', candidates: [{ reasons: ['memory'] }] })
    runner.sync([], { health: { memory_free_mb: 8192, disk_free_mb: 9, load1: 0, disk_low: true } })
    expect(why('run_1')).toMatchObject({ waiting_for: 'memory', candidates: [{ reasons: ['disk'] }] })
  })

  test('for another runner: this one had it already and leaves it to others for a while, or its policy refused it', () => {
    const one = new TestRunner(pool, 'one')
    const two = new TestRunner(pool, 'two', { max_concurrency: 1 })
    pool.enqueue('run_busy')
    const busy = two.take()
    pool.enqueue('run_1', { max_attempts: 3 })
    one.sync([exited(one.take(), null, 'engine_error')])
    expect(why('run_1')).toMatchObject({
      waiting_for: 'slot',
      candidates: [{ reasons: ['already_tried'] }, { reasons: ['no_slot'] }],
    })
    two.sync([exited(busy, 0)], { draining: true })
    two.sync([exited(two.take(), null, 'policy_denied')])
    expect(why('run_1')).toMatchObject({
      waiting_for: 'runner',
      candidates: [{ reasons: ['already_tried'] }, { reasons: ['policy'] }],
    })
    pool.pass(10_000)
    expect(why('run_1').candidates[0]).toMatchObject({ eligible: true, reasons: [] })
  })

  test('for nothing when the next sync of an eligible runner takes it', () => {
    const one = new TestRunner(pool, 'one')
    new TestRunner(pool, 'two', { labels: { os: 'mac' } }).sync([], { draining: true })
    pool.enqueue('run_1')
    expect(why('run_1')).toMatchObject({
      waiting_for: null,
      candidates: [{ runner_id: one.id, eligible: true, reasons: [] }, { eligible: false }],
    })
  })

  test('for nothing once it no longer waits', () => {
    const runner = new TestRunner(pool, 'one')
    pool.enqueue('run_1')
    runner.take()
    expect(why('run_1')).toEqual({ waiting_for: null, candidates: [] })
  })
})

describe('a runner’s status', () => {
  const status = (runner: TestRunner) =>
    pool.decide(ctx => {
      const record = ctx.store.runners.get(runner.id)
      return record === null ? null : toRunner(ctx, record).status
    })

  test('is online from its registration, and offline only 45 s and three intervals after its last sync', () => {
    const runner = new TestRunner(pool, 'one')
    expect(status(runner)).toBe('online')
    pool.pass(44_999)
    expect(status(runner)).toBe('online')
    pool.pass(1)
    expect(status(runner)).toBe('offline')
    runner.sync()
    expect(status(runner)).toBe('online')
  })

  test('follows its doorbell’s pongs as well', () => {
    const runner = new TestRunner(pool, 'one')
    runner.sync()
    pool.pass(300_000)
    pool.pongs.set(runner.id, pool.now - 74_999)
    expect(status(runner)).toBe('online')
    pool.pass(1)
    expect(status(runner)).toBe('offline')
  })

  test('ends 75 s after the last pong of a socket whose packets are dropped, not three of its long intervals later', () => {
    const runner = new TestRunner(pool, 'one')
    pool.pongs.set(runner.id, pool.now)
    expect(runner.sync().next_sync_in_ms).toBe(300_000)
    pool.pass(74_999)
    expect(status(runner)).toBe('online')
    pool.pass(1)
    expect(status(runner)).toBe('offline')
    const next = new TestRunner(pool, 'one', { boot_id: 'another-boot', credential_hash: 'fresh' })
    expect(next.id).toBe(runner.id)
  })

  test('goes on behind a silent socket for as long as the runner syncs, which is then told to sync often', () => {
    const runner = new TestRunner(pool, 'one')
    pool.pongs.set(runner.id, pool.now)
    pool.pass(75_000)
    for (let i = 0; i < 3; i++) {
      expect(runner.sync().next_sync_in_ms).toBe(5_000)
      pool.pass(44_999)
      expect(status(runner)).toBe('online')
    }
    pool.pass(1)
    expect(status(runner)).toBe('offline')
  })

  test('stands for one threshold after a hibernation, and never beyond the hour it is stored for', () => {
    const runner = new TestRunner(pool, 'one')
    runner.sync()
    pool.pass(1_800_000)
    pool.evict()
    expect(status(runner)).toBe('online')
    pool.pass(45_000)
    expect(status(runner)).toBe('offline')
    pool.pass(3_600_000)
    pool.evict()
    expect(status(runner)).toBe('offline')
  })

  test('is judged by the interval without a doorbell once that is cut: 45 s from its sync, 75 s from its pong', () => {
    const runner = new TestRunner(pool, 'one')
    pool.pongs.set(runner.id, pool.now)
    runner.sync()
    const pongAt = pool.now
    pool.pass(10_000)
    pool.pongs.delete(runner.id)
    pool.decide(ctx => doorbellLost(ctx, runner.id, pongAt))
    pool.pass(64_999)
    expect(status(runner)).toBe('online')
    pool.pass(1)
    expect(status(runner)).toBe('offline')
    runner.sync()
    expect(status(runner)).toBe('online')
  })

  test('is offline at once when it says that it leaves', () => {
    const runner = new TestRunner(pool, 'one')
    runner.sync([], { leaving: true })
    expect(status(runner)).toBe('offline')
    runner.restart()
    runner.sync([running('ses_x')])
    expect(status(runner)).toBe('online')
  })
})
