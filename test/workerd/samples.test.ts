import { describe, expect, test, vi } from 'vitest'
import { metered } from './meter.ts'
import { exited, pass, running, TestPool, TestRunner, value } from './world.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

/** Lets time go by. @returns how often the object was woken by its alarm, and when, in seconds from now */
async function wakeUps(pool: TestPool, ms: number, between?: () => Promise<void>): Promise<number[]> {
  const start = Date.now()
  const woken: number[] = []
  for (let at = await pool.alarmAt(); at !== null && at <= start + ms; at = await pool.alarmAt()) {
    await pool.nextAlarm()
    woken.push((Date.now() - start) / 1000)
    await between?.()
  }
  pass(start + ms - Date.now())
  return woken
}

async function history(pool: TestPool, stepMs = MINUTE_MS) {
  return value(await pool.rpc.history({ since: 0, step_ms: stepMs }))
}

/** An alarm comes again for a D1 that takes its time, which is not what is counted here. */
async function answerAtOnce(pool: TestPool): Promise<void> {
  await pool.replaceD1(database => ({
    prepare: (query: string) => database.prepare(query),
    batch: () => Promise.resolve([]),
  }))
}

const everyMinute = (count: number) => Array.from({ length: count }, (_, i) => 1 + 60 * i)

describe('the history of a pool', () => {
  test('does not wake a pool in which nothing happens, and has nothing of it', async () => {
    const pool = await TestPool.create()
    const runner = await TestRunner.register(pool)
    for (let i = 0; i < 5; i++) {
      await runner.sync()
      expect(await wakeUps(pool, MINUTE_MS)).toEqual([])
    }
    expect(await pool.alarmAt()).toBeNull()
    expect(await pool.rows('SELECT * FROM samples')).toEqual([])
  })

  test.for([
    ['awake', async () => {}],
    [
      'asleep in between',
      async (pool: TestPool) => {
        await pool.evict()
        await answerAtOnce(pool)
      },
    ],
  ] as const)('wakes a pool once a minute while a run waits, and once after: %s', async ([, between]) => {
    const pool = await TestPool.create()
    await answerAtOnce(pool)
    const { id } = await pool.enqueue()
    expect(await wakeUps(pool, 570_000, () => between(pool))).toEqual(everyMinute(10))
    value(await pool.rpc.cancelRun(id))
    // The event goes out after a second; the closing sample is due a minute after the last.
    expect(await wakeUps(pool, 24 * HOUR_MS, () => between(pool))).toEqual([1, 31])
    const samples = await history(pool)
    expect(samples.map(sample => sample.queued)).toEqual([...Array(10).fill(1), 0])
    expect(samples.map(sample => sample.oldest_queued_seconds)).toEqual([...everyMinute(10), null])
  })

  test('counts slots of the runners that are online', async () => {
    const pool = await TestPool.create()
    await TestRunner.register(pool, { max_concurrency: 3 })
    const gone = await TestRunner.register(pool, { max_concurrency: 5 })
    await gone.sync([], { leaving: true })
    const runner = await TestRunner.register(pool, { max_concurrency: 2 })
    await pool.enqueue()
    const session = await runner.offered()
    await runner.sync([running(session)])
    await pool.nextAlarm()
    expect(await history(pool)).toMatchObject([{ queued: 0, slots_busy: 1, slots_total: 5 }])
    await runner.sync([exited(session)])
  })

  test('costs one row a minute, and no sync and no lease anything', async () => {
    const pool = await TestPool.create()
    const runner = await TestRunner.register(pool)
    await pool.enqueue()
    const session = await runner.offered()
    await runner.sync([running(session)])
    await pool.nextAlarm()
    const before = await pool.rows('SELECT * FROM samples')
    pass(30_000)
    const [, early] = await metered(() => pool.alarm())
    expect(early.written).toBe(0)
    const [, renewal] = await metered(() => runner.sync([running(session)]))
    expect(renewal).toMatchObject({ written: 1, alarms: 0 })
    pass(30_000)
    await runner.sync([running(session)])
    const [, late] = await metered(() => pool.alarm())
    expect(late).toMatchObject({ written: 1, alarms: 1 })
    expect(await pool.rows('SELECT * FROM samples')).toHaveLength(before.length + 1)
  })

  test('reads the runners and the lanes for it, not the runs that wait', async () => {
    const reads = []
    for (const runs of [10, 500]) {
      const pool = await TestPool.create()
      for (let i = 0; i < runs; i++) await pool.enqueue()
      await pool.passWithAlarms(90_000)
      const [, cost] = await metered(() => pool.nextAlarm())
      expect(cost.written).toBe(1)
      reads.push(cost.read)
    }
    expect(reads[1]).toBe(reads[0])
  })

  test('goes on while D1 fails, without asking it more often for that', async () => {
    const pool = await TestPool.create()
    vi.spyOn(console, 'warn').mockImplementation(() => {})
    let asked = 0
    await pool.replaceD1(database => ({
      prepare: (query: string) => database.prepare(query),
      batch: () => {
        asked += 1
        return Promise.reject(new Error('D1_ERROR: overloaded'))
      },
    }))
    await pool.enqueue()
    const woken = await wakeUps(pool, 30 * MINUTE_MS)
    expect(asked).toBe(woken.length)
    const between = woken.slice(7).map((at, i) => at - (woken[i + 6] ?? 0))
    expect(between.length).toBeGreaterThan(20)
    for (const gap of between) expect(gap).toBeGreaterThanOrEqual(30)
    const taken = (await pool.rows('SELECT at FROM samples')).length
    expect(taken).toBeGreaterThanOrEqual(15)
    expect(taken).toBeLessThanOrEqual(30)
    await pool.evict()
    await pool.nextAlarm()
    // D1 answers again, and the minutes are minutes again.
    await wakeUps(pool, 10 * MINUTE_MS)
    const times = (await pool.rows('SELECT at FROM samples ORDER BY at DESC LIMIT 9')).map(row => row.at)
    expect(times).toEqual(times.map((_, i) => Number(times[0]) - i * MINUTE_MS))
  })

  test('keeps no lease from ending when it is broken', async () => {
    const pool = await TestPool.create()
    vi.spyOn(console, 'error').mockImplementation(() => {})
    const runner = await TestRunner.register(pool)
    const { id } = await pool.enqueue({ max_attempts: 1 })
    await runner.sync([running(await runner.offered())])
    await pool.rows('ALTER TABLE samples RENAME TO samples_away')
    pass(10 * MINUTE_MS)
    await pool.alarm()
    expect(await pool.rows('SELECT * FROM leases')).toEqual([])
    expect(await pool.rows('SELECT status FROM runs WHERE run_id = ?', id)).toEqual([{ status: 'lost' }])
    expect(await pool.alarmAt()).toBeLessThanOrEqual(Date.now() + 5_000)
  })

  test('goes with the pool', async () => {
    const pool = await TestPool.create()
    const { id } = await pool.enqueue()
    await pool.nextAlarm()
    value(await pool.rpc.cancelRun(id))
    value(await pool.rpc.destroy())
    expect(await pool.alarmAt()).toBeNull()
    expect((await pool.rpc.history({ since: 0, step_ms: 1 })).ok).toBe(false)
  })
})
