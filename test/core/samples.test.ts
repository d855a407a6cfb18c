import { beforeEach, describe, expect, test } from 'vitest'
import {
  readSamples,
  type SampleRecord,
  sampleIfDue,
  thin,
} from '../../durable-objects/runner-pool/core/samples.ts'
import { exited, running, TestPool, TestRunner } from './pool-fixture.ts'

const MINUTE_MS = 60_000
const DAY_MS = 86_400_000

let pool: TestPool
let newest: SampleRecord | null
beforeEach(() => {
  pool = new TestPool()
  newest = null
})

/** What the alarm would do. @returns in how many milliseconds it is to come again; null for not at all */
function look(): number | null {
  const sampled = pool.decide(ctx => sampleIfDue(ctx, newest))
  newest = sampled.newest
  return sampled.next === null ? null : sampled.next - pool.now
}

function taken(): SampleRecord[] {
  return pool.decide(ctx => readSamples(ctx, 0, MINUTE_MS))
}

describe('a sample', () => {
  test('is not taken of a pool in which nothing happens, whatever runners it has', () => {
    const runner = new TestRunner(pool, 'one')
    for (let i = 0; i < 5; i++) {
      runner.sync()
      expect(look()).toBeNull()
      pool.pass(MINUTE_MS)
    }
    expect(taken()).toEqual([])
  })

  test('is taken once a minute while a run waits or is held, and once more when none is', () => {
    const runner = new TestRunner(pool, 'one')
    pool.enqueue('run_1')
    pool.pass(1_000)
    expect(look()).toBe(MINUTE_MS)
    pool.pass(20_000)
    const session = runner.take()
    runner.sync([running(session)])
    expect(look()).toBe(40_000)
    pool.pass(40_000)
    expect(look()).toBe(MINUTE_MS)
    pool.pass(5_000)
    runner.sync([exited(session, 0)])
    expect(look()).toBe(55_000)
    pool.pass(55_000)
    runner.sync()
    expect(look()).toBeNull()
    pool.pass(10 * MINUTE_MS)
    expect(look()).toBeNull()
    const values = taken().map(({ at: _, ...rest }) => Object.values(rest))
    expect(values).toEqual([
      [1, 0, 2, 1],
      [0, 1, 2, null],
      [0, 0, 2, null],
    ])
  })

  test('is the first of a new stretch at once, but never within a minute of the last', () => {
    pool.enqueue('run_1')
    look()
    pool.cancel('run_1')
    pool.pass(MINUTE_MS)
    expect(look()).toBeNull()
    pool.pass(10_000)
    pool.enqueue('run_2')
    expect(look()).toBe(50_000)
    pool.pass(50_000)
    expect(look()).toBe(MINUTE_MS)
    pool.cancel('run_2')
    pool.pass(MINUTE_MS)
    look()
    pool.pass(10 * MINUTE_MS)
    pool.enqueue('run_3')
    expect(look()).toBe(MINUTE_MS)
    expect(taken().map(sample => sample.queued)).toEqual([1, 0, 1, 0, 1])
  })

  test('is kept for 30 days, and what is older is not shown and goes in time', () => {
    const start = pool.now
    for (let i = 0; i < 500; i++) {
      pool.store.samples.insert({
        at: start + i * MINUTE_MS,
        queued: 1,
        slotsBusy: 0,
        slotsTotal: 0,
        oldestQueuedSeconds: 1,
      })
    }
    pool.pass(30 * DAY_MS + 450 * MINUTE_MS)
    expect(taken()).toHaveLength(50)
    pool.enqueue('run_1', { queue_timeout_seconds: 604_800 })
    const left = [1, 2, 3].map(() => {
      look()
      pool.pass(MINUTE_MS)
      return pool.store.samples.since(0).length
    })
    expect(left).toEqual([301, 102, 51])
  })
})

describe('fewer samples than there are', () => {
  const sample = (minute: number, queued: number, slotsBusy: number): SampleRecord => ({
    at: minute * MINUTE_MS + 7_000,
    queued,
    slotsBusy,
    slotsTotal: 4,
    oldestQueuedSeconds: queued === 0 ? null : queued * 10,
  })
  const minutes = (samples: SampleRecord[]) =>
    samples.map(({ at, queued, slotsBusy, oldestQueuedSeconds }) => [
      at / MINUTE_MS,
      queued,
      slotsBusy,
      oldestQueuedSeconds,
    ])

  test('show the highest of each step', () => {
    const samples = [sample(10, 1, 0), sample(11, 9, 1), sample(12, 2, 4), sample(15, 3, 3)]
    expect(minutes(thin(samples, 5 * MINUTE_MS))).toEqual([
      [10, 9, 4, 90],
      [15, 3, 3, 30],
    ])
  })

  test('still say when a stretch ended', () => {
    const samples = [sample(10, 5, 0), sample(12, 0, 0), sample(40, 1, 0), sample(44, 0, 0), sample(45, 2, 0)]
    expect(minutes(thin(samples, 5 * MINUTE_MS))).toEqual([
      [10, 5, 0, 50],
      [15, 0, 0, null],
      [40, 1, 0, 10],
      [45, 2, 0, 20],
    ])
  })

  test('are all there are where a step is no longer than a minute', () => {
    const samples = [sample(1, 1, 0), sample(2, 0, 0), sample(9, 1, 1)]
    expect(minutes(thin(samples, MINUTE_MS))).toEqual([
      [1, 1, 0, 10],
      [2, 0, 0, null],
      [9, 1, 1, 10],
    ])
  })
})
