import { beforeAll, describe, expect, test } from 'vitest'
import { LOOKS_PER_PLAN } from '../../durable-objects/runner-pool/core/doorbell.ts'
import { PoolStore } from '../../durable-objects/runner-pool/store/store.ts'
import { DurableSql } from '../../durable-objects/storage/durable-sql.ts'
import type { Health, LeaseReport, SyncResponse } from '../../protocol/runner-api.ts'
import { POOL_BOUNDS } from '../../scripts/docs/costs/counts.ts'
import { type Cost, metered } from './meter.ts'
import { exited, pass, running, TestPool, TestRunner, value } from './world.ts'

/**
 * P5: what a sync and a lease cost does not depend on how many runs wait nor on how many runners there are.
 * The counts are the cursors' own, which is what is billed, and so exact.
 */

const SIZES = [
  { queued: 100, runners: 10 },
  { queued: 100_000, runners: 10 },
  { queued: 100, runners: 10_000 },
  { queued: 100_000, runners: 10_000 },
]

/** Waiting runs copied from one that was enqueued, as `enqueue` would have left them; only the events are missing. */
async function fillQueue(pool: TestPool, count: number, labels: Record<string, string>): Promise<void> {
  const { id } = await pool.enqueue({ labels, env: { CI: 'true' } })
  await pool.inside(({ storage }) => {
    const { sql } = storage
    const names = sql.exec<{ name: string }>("SELECT name FROM pragma_table_info('runs')").toArray()
    const others = names.flatMap(({ name }) => (name === 'run_id' ? [] : [name])).join(', ')
    const numbers = `WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)`
    const copyId = `printf('%s-%06d', ?, n)`
    storage.transactionSync(() => {
      sql.exec(
        `${numbers} INSERT INTO runs (run_id, ${others}) SELECT ${copyId}, ${others} FROM numbers, runs WHERE run_id = ?`,
        count - 1,
        id,
        id,
      )
      sql.exec(
        `${numbers} INSERT INTO queue (lane_id, urgency, queued_at, run_id)
         SELECT lane_id, urgency, queued_at, ${copyId} FROM numbers, queue WHERE run_id = ?`,
        count - 1,
        id,
        id,
      )
      sql.exec(
        `${numbers} INSERT INTO queue_deadlines (due, run_id)
         SELECT due, ${copyId} FROM numbers, queue_deadlines WHERE run_id = ?`,
        count - 1,
        id,
        id,
      )
      sql.exec(
        'UPDATE lanes SET queued = queued + ? WHERE lane_id = (SELECT lane_id FROM runs WHERE run_id = ?)',
        count - 1,
        id,
      )
    })
  })
}

async function fillRunners(pool: TestPool, count: number): Promise<void> {
  const { id } = await TestRunner.register(pool)
  await pool.inside(({ storage }) => {
    const { sql } = storage
    const names = sql.exec<{ name: string }>("SELECT name FROM pragma_table_info('runners')").toArray()
    const others = names
      .flatMap(({ name }) => (name === 'runner_id' || name === 'name' ? [] : [name]))
      .join(', ')
    sql.exec(
      `WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
       INSERT INTO runners (runner_id, name, ${others})
       SELECT printf('%s-%06d', runner_id, n), printf('%s-%06d', name, n), ${others} FROM numbers, runners
       WHERE runner_id = ?`,
      count - 1,
      id,
    )
  })
}

/** That what a reply offered could not be brought to run, through no fault of the job. */
function failed({ offers }: SyncResponse): LeaseReport {
  const [offer] = offers
  if (offer === undefined) throw new Error('an offer was expected')
  return {
    session_id: offer.session_id,
    state: 'exited',
    exit: { code: null, reason: 'pull_failed' },
  }
}

type Scene = Record<keyof typeof POOL_BOUNDS, Cost>

/** Everything a runner's sync can be about, metered one after the other. */
async function play(queued: number, runners: number): Promise<Scene> {
  const pool = await TestPool.create()
  await fillRunners(pool, runners)
  await fillQueue(pool, queued / 2, { zone: 'east' })
  await fillQueue(pool, queued / 2, { zone: 'east', browser: 'new' })
  const costs = new Map<string, Cost>()
  /** Due alarms have come before a step is metered, so that what it arms itself is seen. */
  const meter = async <T>(name: keyof Scene, work: () => Promise<T>): Promise<T> => {
    const [result, cost] = await metered(work)
    costs.set(name, cost)
    pass(2_000)
    await pool.alarm()
    return result
  }
  const elsewhere = await TestRunner.register(pool, { labels: { zone: 'west' } })
  await elsewhere.sync()
  const east = await TestRunner.register(pool, { labels: { zone: 'east' }, max_concurrency: 1 })
  await east.sync([], { draining: true })
  pass(2_000)
  await pool.alarm()

  await meter('a sync without leases, of a runner that no run fits', () => elsewhere.sync())
  await meter('a sync without leases, of a draining runner', () => east.sync([], { draining: true }))
  await east.sync([], { draining: false, slots: { max: 0 } })
  const first = await meter('a lease given', () => east.sync())
  const session = first.offers[0]?.session_id ?? ''
  await meter('the same offer again', () => east.sync())
  await meter('accepted', () => east.sync([{ session_id: session, state: 'accepted' }]))
  await meter('running', () => east.sync([running(session)]))
  await meter('a sync that only renews', () => east.sync([running(session)]))
  await pool.evict()
  await meter('waking up, and a sync that only renews', () => east.sync([running(session)]))
  const next = await meter('an exit, and the next lease', () => east.sync([exited(session)]))
  const second = next.offers[0]
  if (second === undefined) throw new Error('a second offer was expected')
  const goesOn = [running(second.session_id)]
  await east.sync(goesOn)
  await meter('a stale sync', () => pool.rpc.sync(east.id, east.hash, { ...east.request(), seq: 1 }))
  await meter('a cancel of what runs', () => pool.rpc.cancelRun(second.run_id))
  await meter('a cancelled session that goes on', () => east.sync(goesOn))
  const over = [exited(second.session_id)]
  await meter('an exit, and nothing to come', () => east.sync(over, { draining: true }))
  await meter('a run enqueued', () => pool.enqueue({ labels: { zone: 'east' }, env: { CI: 'true' } }))
  await pool.enqueue({ labels: { zone: 'west' }, env: { CI: 'true' } })
  const last = await meter('the last run of a lane given away', () =>
    elsewhere.sync([], { slots: { max: 1 } }),
  )
  await pool.enqueue({ labels: { zone: 'west' }, env: { CI: 'true' } })
  await meter('the alarm that projects it', () => pool.alarm())
  await meter('an exit that is tried again', () => elsewhere.sync([failed(last)], { draining: true }))
  await pool.passWithAlarms(10_000)
  await meter('the next attempt given', () => elsewhere.sync([], { slots: { max: 1 } }))
  return Object.fromEntries(costs) as Scene
}

let small: Scene
beforeAll(async () => {
  small = await play(100, 10)
})

test.for(Object.entries(POOL_BOUNDS))('%s costs no more than its bound', ([name, bound]) => {
  const cost = small[name as keyof Scene]
  expect(cost.read).toBeLessThanOrEqual(bound.read)
  expect(cost.written).toBeLessThanOrEqual(bound.written)
  expect(cost.alarms).toBeLessThanOrEqual(bound.alarms)
})

test('a sync with leases writes exactly one row when nothing has changed, its renewal', () => {
  expect(small['a sync that only renews'].written).toBe(1)
  expect(small['waking up, and a sync that only renews'].written).toBe(1)
})

test.for(SIZES)('every step costs the same with $queued runs waiting and $runners runners', async size => {
  expect(await play(size.queued, size.runners)).toEqual(small)
})

test('a look at the pool reads the same however many runs wait', async () => {
  const reads = []
  for (const queued of [100, 100_000]) {
    const pool = await TestPool.create()
    await pool.enqueue({ priority: 9 })
    pass(5_000)
    await fillQueue(pool, queued, {})
    await pool.enqueue({ priority: 5 })
    pass(60_000)
    const [summary, cost] = await metered(() => pool.rpc.summary())
    expect(value(summary).stats).toMatchObject({ queued: queued + 2, oldest_queued_seconds: 65 })
    reads.push(cost.read)
  }
  expect(reads[1]).toBe(reads[0])
})

test('a page of runners reads its runners and their leases, wherever in a long list it is', async () => {
  const pool = await TestPool.create()
  await fillRunners(pool, 10_000)
  const [newest] = await pool.rows('SELECT runner_id FROM runners ORDER BY runner_id DESC LIMIT 1 OFFSET 100')
  const [oldest] = await pool.rows('SELECT runner_id FROM runners ORDER BY runner_id LIMIT 1 OFFSET 201')
  for (const cursor of [null, String(newest?.runner_id), String(oldest?.runner_id)]) {
    const [page, cost] = await metered(() => pool.rpc.listRunners(200, cursor))
    expect(value(page).items).toHaveLength(200)
    expect(cost).toMatchObject({ written: 0, alarms: 0 })
    expect(cost.read).toBeLessThanOrEqual(202)
  }
})

/** Each run in a lane of its own, filed as `enqueue` files it. */
async function fillLanes(
  pool: TestPool,
  count: number,
  lane: (n: number) => { labels?: Record<string, string>; memoryMb?: number },
): Promise<void> {
  await pool.inside(({ storage }) => {
    const { queue } = new PoolStore(new DurableSql(storage.sql))
    storage.transactionSync(() => {
      for (let n = 0; n < count; n++) {
        queue.push(
          { labels: {}, memoryMb: 0, forbidden: [], retried: false, ...lane(n) },
          { runId: `run_${n}`, queuedAt: Date.now(), priority: 0, pauses: [] },
        )
      }
    })
  })
}

/** The schema's version, the pool, the newest renewal and what may be due. */
const WAKING_READS = 8

async function costOfSync(runner: TestRunner, health: Health): Promise<Cost> {
  const [reply, cost] = await metered(() => runner.sync([], { health }))
  expect(reply.offers).toEqual([])
  return cost
}

describe('with 10,000 lanes that a runner cannot serve', () => {
  test.for<[string, (n: number) => { labels?: Record<string, string>; memoryMb?: number }]>([
    ['because each run has a label of its own', n => ({ labels: { build: `${n}` } })],
    [
      'because each run has one label more than the runner',
      n => ({ labels: { zone: 'east', build: `${n}` } }),
    ],
    ['because each run needs more memory than it has', n => ({ memoryMb: 4_097 + n })],
  ])('%s, its sync reads no more than 3 rows, also right after a hibernation', async ([, lane]) => {
    const pool = await TestPool.create()
    const runner = await TestRunner.register(pool, { labels: { zone: 'east', os: 'linux' } })
    const health = { memory_free_mb: 4_096, disk_free_mb: 9, load1: 0 }
    await runner.sync([], { health, draining: true })
    await fillLanes(pool, 10_000, lane)
    await runner.sync([], { health })
    const steady = await costOfSync(runner, health)
    expect(steady.read).toBeLessThanOrEqual(3)
    expect(steady).toMatchObject({ written: 0, alarms: 0 })
    await pool.evict()
    expect((await costOfSync(runner, health)).read).toBeLessThanOrEqual(steady.read + WAKING_READS)
  })

  test('a run enqueued reads a bounded number of them, with doorbells to ring and without', async () => {
    const pool = await TestPool.create()
    const runner = await TestRunner.register(pool, { labels: { zone: 'east' } })
    await runner.sync()
    await fillLanes(pool, 10_000, n => ({ labels: { zone: 'west', build: `${n}` } }))
    const [, quiet] = await metered(() => pool.enqueue({ labels: { zone: 'east', build: 'new' } }))
    expect(quiet.read).toBeLessThanOrEqual(16)
    const doorbell = await runner.doorbell()
    const [, rung] = await metered(() => pool.enqueue({ labels: { zone: 'east' } }))
    expect(await doorbell.rings()).toBe(1)
    expect(rung.read).toBeLessThanOrEqual(300)
  })
})

describe('with runners that wait at their doorbells, and a run that none of them can take', () => {
  /** Runners with a doorbell and one slot each. */
  async function poolAtDoorbells(count: number) {
    const pool = await TestPool.create()
    const runners: TestRunner[] = []
    while (runners.length < count) {
      const batch = Array.from({ length: Math.min(50, count - runners.length) }, async () => {
        const runner = await TestRunner.register(pool, { max_concurrency: 1 })
        await runner.sync()
        await runner.doorbell()
        return runner
      })
      runners.push(...(await Promise.all(batch)))
    }
    await pool.enqueue({ labels: { zone: 'nowhere' } })
    await pool.passWithAlarms(10_000)
    return { pool, runners }
  }

  async function playRings(count: number) {
    const { pool, runners } = await poolAtDoorbells(count)
    const [taker] = runners
    if (taker === undefined) throw new Error('a runner was expected')
    const costs: Record<string, Cost> = {}
    const meter = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
      const [result, cost] = await metered(work)
      costs[name] = cost
      return result
    }
    await meter('another run that none can take', () => pool.enqueue({ labels: { zone: 'nowhere' } }))
    await meter('a run enqueued, and one rung', () => pool.enqueue())
    const given = await meter('a lease given', () => taker.sync())
    await meter('an exit that is tried again, and another rung', () => taker.sync([failed(given)]))
    await meter('a sync of a runner that must leave the run to others', () => taker.sync())
    await meter('the alarm that passes the ring on', () => pool.passWithAlarms(2_000))
    await meter('the alarm at the end of the pause', () => pool.passWithAlarms(8_000))
    await meter('the next attempt given', () => taker.sync())
    return { pool, costs }
  }

  test('every step costs the same with 5 and with 1,000 of them', async () => {
    const few = await playRings(5)
    const many = await playRings(1_000)
    expect(many.costs).toEqual(few.costs)
    for (const cost of Object.values(few.costs)) expect(cost.read).toBeLessThanOrEqual(60)
  })

  test('right after a hibernation an enqueue reads the rows of a few of them only', async () => {
    const { pool } = await poolAtDoorbells(100)
    await pool.evict()
    const [, cost] = await metered(() => pool.enqueue({ labels: { zone: 'nowhere' } }))
    expect(cost.read).toBeLessThanOrEqual(WAKING_READS + 2 * LOOKS_PER_PLAN + 4)
  })
})
