import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  POOL_COUNTERS,
  POOL_GAUGES,
  POOL_INSTRUMENTS,
} from '../../../durable-objects/telemetry/instruments.ts'
import { metered } from '../meter.ts'
import { abortAll, exited, pass, running, TestPool, TestRunner, value } from '../world.ts'
import { BackEnd } from './back-end.ts'

/** A pool's object with a metrics back end, its clock in the test's hand. */

/** As the objects' settings name it. */
const backEnd = new BackEnd('collector')

/** A pool whose first export, in the background of its creation, is over. */
async function introducedPool(): Promise<TestPool> {
  const pool = await TestPool.create()
  await vi.waitFor(
    async () => expect(await backEnd.valuesOf(pool.id, POOL_GAUGES.createdAt)).toHaveLength(1),
    30_000,
  )
  return pool
}

/** Runs that are held by a runner that is never heard of again, past the end of their leases. */
async function expiring(pool: TestPool, count: number): Promise<void> {
  const runner = await TestRunner.register(pool, { max_concurrency: count })
  for (let i = 0; i < count; i++) await pool.enqueue({ max_attempts: 1 })
  const { offers } = await runner.sync()
  await runner.sync(offers.map(({ session_id }) => running(session_id)))
  await pool.passWithAlarms(5_000)
  pass(60_000)
}

beforeEach(() => backEnd.is('well'))

afterEach(async () => {
  const { wrong, points } = await backEnd.seen()
  expect(wrong).toEqual([])
  for (const { attributes, instance } of points) expect(instance).toBe(attributes.pool)
})

describe('expired leases', () => {
  const { leasesExpired } = POOL_COUNTERS

  test.for([
    ['is evicted', (pool: TestPool) => pool.evict()],
    ['crashes', () => abortAll()],
  ] as const)('are all counted where the object %s between the commit and the export', async ([, go]) => {
    const pool = await introducedPool()
    await expiring(pool, 3)
    // Found by a call, which stores it; the alarm that would export it has not come.
    expect(value(await pool.rpc.summary()).stats.slots_busy).toBe(3)
    await backEnd.is('failing')
    await pool.nextAlarm()
    expect(await pool.rows('SELECT * FROM leases')).toEqual([])
    await go(pool)
    await backEnd.is('well')
    await pool.nextAlarm()
    expect(await backEnd.total(pool.id, leasesExpired)).toBe(3)
    expect(await pool.rows('SELECT * FROM unsent_counts')).toEqual([])
    await pool.passWithAlarms(26 * 3_600_000)
    expect(await backEnd.total(pool.id, leasesExpired)).toBe(3)
  })

  test('are the same points again where only the answer was lost, and later ones come apart from them', async () => {
    const pool = await introducedPool()
    await backEnd.is('forgetful')
    await expiring(pool, 2)
    await pool.nextAlarm()
    expect(await backEnd.total(pool.id, leasesExpired)).toBe(2)
    await expiring(pool, 1)
    await pool.nextAlarm()
    await backEnd.is('well')
    const before = (await backEnd.seen()).repeated
    await pool.nextAlarm()
    expect((await backEnd.seen()).repeated).toBeGreaterThan(before)
    await pool.passWithAlarms(7_200_000)
    expect(await backEnd.total(pool.id, leasesExpired)).toBe(3)
    expect(await pool.rows('SELECT * FROM unsent_counts')).toEqual([])
  })

  test('are sent less and less often while nobody takes them, and take up one row or two', async () => {
    const pool = await introducedPool()
    vi.spyOn(console, 'warn').mockImplementation(() => {})
    await backEnd.is('failing')
    await expiring(pool, 1)
    await pool.passWithAlarms(3_600_000)
    await expiring(pool, 1)
    await pool.passWithAlarms(3_600_000)
    expect((await pool.rows('SELECT * FROM unsent_counts')).length).toBeLessThanOrEqual(2)
    const end = Date.now() + 10 * 3_600_000
    let alarms = 0
    while (((await pool.alarmAt()) ?? end + 1) <= end) {
      await pool.nextAlarm()
      alarms += 1
    }
    expect(alarms).toBe(10)
  })
})

describe('a back end that never answers', () => {
  test('delays no alarm by more than a second, no call at all, and is asked once at a time', async () => {
    const pool = await introducedPool()
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
    await backEnd.is('hanging')
    const before = (await backEnd.seen()).requests
    await expiring(pool, 2)
    await pool.nextAlarm()
    expect(await pool.rows('SELECT * FROM leases')).toEqual([])
    const runner = await TestRunner.register(pool)
    await runner.sync()
    expect((await backEnd.seen()).requests - before).toBe(1)
    // All of this while the export still waits for its answer.
    expect(warn).not.toHaveBeenCalled()
    await vi.waitFor(() => expect(String(warn.mock.calls)).toContain('metrics_not_delivered'), 30_000)
  })
})

describe('what the pool is like', () => {
  test('is said at its creation, every minute while runs wait, once more after that, and never while it is idle', async () => {
    const pool = await introducedPool()
    const created = Math.floor(Date.now() / 1000)
    expect(await pool.alarmAt()).toBeNull()
    // The id is of the runtime's clock, the objects' runs a day ahead.
    expect((await backEnd.valuesOf(pool.id, POOL_GAUGES.createdAt))[0]).toBeGreaterThan(created - 2 * 86_400)
    const runner = await TestRunner.register(pool)
    await pool.enqueue()
    await pool.enqueue()
    await pool.passWithAlarms(2_000)
    await pool.passWithAlarms(5 * 60_000)
    expect(await backEnd.valuesOf(pool.id, POOL_GAUGES.queueDepth)).toEqual([0, 2, 2, 2, 2, 2, 2])
    const waits = await backEnd.valuesOf(pool.id, POOL_GAUGES.queueOldestWait)
    expect(waits.slice(2)).toEqual(waits.slice(2).map((_, i) => (waits[1] ?? 0) + 60 * (i + 1)))
    const { offers } = await runner.sync()
    await runner.sync(offers.map(({ session_id }) => exited(session_id)))
    await pool.passWithAlarms(120_000)
    expect((await backEnd.valuesOf(pool.id, POOL_GAUGES.queueDepth)).slice(7)).toEqual([0])
    const { requests } = await backEnd.seen()
    await pool.passWithAlarms(24 * 3_600_000)
    expect((await backEnd.seen()).requests).toBe(requests)
  })

  test('tells how long D1 has been behind', async () => {
    const pool = await introducedPool()
    vi.spyOn(console, 'warn').mockImplementation(() => {})
    await pool.replaceD1(database => ({
      prepare: (query: string) => database.prepare(query),
      batch: () => Promise.reject(new Error('down')),
    }))
    await pool.enqueue()
    await pool.passWithAlarms(200_000)
    const lags = await backEnd.valuesOf(pool.id, POOL_GAUGES.outboxLag)
    // While D1 fails a sample waits for the next try, which is a minute away at the most.
    expect(Math.max(...lags)).toBeGreaterThanOrEqual(75)
  })
})

describe('runs', () => {
  test('are counted by how they end, and how long they were in each state', async () => {
    const pool = await introducedPool()
    const runner = await TestRunner.register(pool)
    await pool.enqueue()
    pass(7_000)
    const session = await runner.offered()
    pass(1_000)
    await runner.sync([running(session)])
    pass(20_000)
    await runner.sync([exited(session, 1)])
    await pool.passWithAlarms(2_000)
    expect(await backEnd.total(pool.id, POOL_INSTRUMENTS.runsEnded)).toBe(1)
    expect(await backEnd.total(pool.id, POOL_INSTRUMENTS.pickupDuration)).toBe(1)
    expect(await backEnd.total(pool.id, POOL_INSTRUMENTS.stateDuration)).toBe(3)
  })
})

test('an alarm that cannot read what was counted ends leases all the same, and does not throw', async () => {
  const pool = await introducedPool()
  vi.spyOn(console, 'warn').mockImplementation(() => {})
  vi.spyOn(console, 'error').mockImplementation(() => {})
  await pool.enqueue()
  await pool.rows('ALTER TABLE unsent_counts RENAME TO away')
  await pool.nextAlarm()
  await pool.rows('ALTER TABLE away RENAME TO unsent_counts')
  await pool.nextAlarm()
  expect(await pool.rows('SELECT * FROM outbox')).toEqual([])
})

test('metrics write no row and arm no alarm in a pool where nothing happens', async () => {
  const pool = await introducedPool()
  const runner = await TestRunner.register(pool)
  await runner.sync()
  const [, cost] = await metered(async () => {
    for (let i = 0; i < 20; i++) {
      pass(10_000)
      await runner.sync()
    }
  })
  expect(cost).toMatchObject({ written: 0, alarms: 0 })
  expect(await pool.alarmAt()).toBeNull()
})
