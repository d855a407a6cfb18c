import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { projectRuns } from '../../durable-objects/runner-pool/projection.ts'
import type { Run } from '../../protocol/run.ts'
import { failingD1, randomFrom } from '../worker/failing-d1.ts'
import { exited, newRun, outcome, pass, running, TestPool, TestRunner, value } from './world.ts'

const HOUR_MS = 3_600_000

/** D1 refuses rows of the history while this trigger stands, as a full or broken database would. */
async function breakHistory(when: string): Promise<void> {
  for (const table of ['runs', 'run_events']) {
    await env.DB.prepare(
      `CREATE TRIGGER break_${table} BEFORE INSERT ON ${table} WHEN ${when} BEGIN SELECT RAISE(ABORT, 'broken'); END`,
    ).run()
  }
}

async function mendHistory(): Promise<void> {
  for (const table of ['runs', 'run_events'])
    await env.DB.prepare(`DROP TRIGGER IF EXISTS break_${table}`).run()
}

afterEach(mendHistory)

describe('the alarm', () => {
  test('is armed for the earliest that is due and never moved later', async () => {
    const pool = await TestPool.create()
    expect(await pool.alarmAt()).toBeNull()
    const runner = await TestRunner.register(pool)
    expect(await pool.alarmAt()).toBeNull()
    await pool.enqueue({ queue_timeout_seconds: 600 })
    const projection = await pool.alarmAt()
    expect(projection).toBe(Date.now() + 1_000)
    pass(500)
    const session = await runner.offered()
    const offeredAt = Date.now()
    expect(await pool.alarmAt()).toBe(projection)
    await pool.nextAlarm()
    expect(await pool.alarmAt()).toBe(offeredAt + 20_000 + 15_000)
    await runner.sync([running(session)])
    const acceptedAt = Date.now()
    // The events go out, and the leases are not read for that: none can be due before the offer's end.
    await pool.nextAlarm()
    expect(await pool.alarmAt()).toBe(offeredAt + 20_000 + 15_000)
    await pool.nextAlarm()
    expect(await pool.alarmAt()).toBe(acceptedAt + 45_000 + 15_000)
    pass(10_000)
    await runner.sync([running(session)])
    const renewedAt = Date.now()
    expect(await pool.alarmAt()).toBe(acceptedAt + 45_000 + 15_000)
    await pool.nextAlarm()
    expect(await pool.alarmAt()).toBe(renewedAt + 45_000 + 15_000)
  })

  test('is not needed by a pool in which nothing happens', async () => {
    const pool = await TestPool.create()
    const runner = await TestRunner.register(pool)
    for (let i = 0; i < 3; i++) {
      await runner.sync()
      pass(5_000)
    }
    expect(await pool.alarmAt()).toBeNull()
    await pool.evict()
    await runner.sync()
    expect(await pool.alarmAt()).toBeNull()
  })

  test('that comes late changes nothing: whoever looks first finds what is over', async () => {
    const pool = await TestPool.create()
    const runner = await TestRunner.register(pool)
    const { id } = await pool.enqueue({ max_attempts: 1 })
    await runner.sync([running(await runner.offered())])
    pass(10 * HOUR_MS)
    const run = await pool.run(id)
    expect(run).toMatchObject({ status: 'lost', failure: { code: 'lease_expired' } })
    expect(await pool.alarm()).toBe(true)
    expect(await pool.run(id)).toEqual(run)
    expect(await pool.projectedRun(id)).toEqual(run)
  })

  test.for([
    [
      'a lease',
      'lost',
      async (pool: TestPool, runner: TestRunner) => {
        const { id } = await pool.enqueue({ max_attempts: 1 })
        await runner.sync([running(await runner.offered())])
        pass(60_000)
        return id
      },
    ],
    [
      'a waiting run',
      'failed',
      async (pool: TestPool) => {
        const { id } = await pool.enqueue({ queue_timeout_seconds: 60 })
        pass(60_000)
        return id
      },
    ],
    [
      'a waiting run of which D1 knows all',
      'failed',
      async (pool: TestPool) => {
        const { id } = await pool.enqueue({ queue_timeout_seconds: 60 })
        await pool.nextAlarm()
        pass(60_000)
        return id
      },
    ],
    [
      'an event',
      'cancelled',
      async (pool: TestPool) => {
        const { id } = await pool.enqueue()
        value(await pool.rpc.cancelRun(id))
        return id
      },
    ],
  ] as const)('that was lost is armed again by the next wake of a pool with %s', async ([, status, make]) => {
    const pool = await TestPool.create()
    const runner = await TestRunner.register(pool)
    const id = await make(pool, runner)
    await pool.loseAlarm()
    await pool.evict()
    value(await pool.rpc.summary())
    expect(await pool.alarmAt()).toBe(Date.now())
    await pool.alarm()
    expect(await pool.projectedRun(id)).toMatchObject({ status })
  })

  test('ends every waiting run whose time is over, however many', async () => {
    const pool = await TestPool.create()
    for (let i = 0; i < 450; i++) await pool.rpc.enqueue(newRun({ queue_timeout_seconds: 60 }))
    pass(60_000)
    for (let i = 0; i < 6; i++) await pool.nextAlarm()
    expect(value(await pool.rpc.summary()).stats.queued).toBe(0)
    const { results } = await env.DB.prepare(
      'SELECT status, count(*) AS n FROM runs WHERE pool_id = ? GROUP BY status',
    )
      .bind(pool.id)
      .all()
    expect(results).toEqual([{ status: 'failed', n: 450 }])
  })
})

describe('while D1 fails', () => {
  test('the alarm does not throw, comes again with growing gaps, and says nothing of what it could not save', async () => {
    const pool = await TestPool.create()
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
    const { id } = await pool.enqueue({
      command: ['echo', 'canary-command'],
      metadata: { note: 'canary-note' },
    })
    await breakHistory(`NEW.tenant_id = '${pool.identity.tenant_id}'`)
    const gaps = []
    for (let failures = 0; failures < 10; failures++) {
      await pool.nextAlarm()
      gaps.push(((await pool.alarmAt()) ?? 0) - Date.now())
    }
    gaps.forEach((gap, i) => {
      const ceiling = Math.min(60_000, 1_000 * 2 ** i)
      expect(gap).toBeGreaterThanOrEqual(ceiling / 2)
      expect(gap).toBeLessThanOrEqual(ceiling)
    })
    const said = warn.mock.calls.flat().join('\n')
    expect(said).toContain('"event":"history_not_saved"')
    expect(said).toContain(pool.id)
    expect(said).not.toContain('canary')
    expect(await pool.projectedRun(id)).toBeNull()
    await mendHistory()
    await pool.nextAlarm()
    expect(await pool.projectedRun(id)).toEqual(await pool.run(id))
    expect(await pool.projectedEvents(id)).toEqual(['queued'])
  })

  test('only the innermost cause of a failed query is logged, because the query carries what users wrote', async () => {
    const pool = await TestPool.create()
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
    await pool.enqueue()
    const failed = new Error('Failed query: insert into runs, params: canary', {
      cause: new Error('overloaded'),
    })
    await pool.replaceD1(database => ({
      prepare: (query: string) => database.prepare(query),
      batch: () => Promise.reject(failed),
    }))
    await pool.nextAlarm()
    expect(warn.mock.calls).toEqual([
      [expect.stringMatching(/"event":"history_not_saved".*"reason":"Error: overloaded"/)],
    ])
    expect(warn.mock.calls.flat().join()).not.toContain('canary')
  })

  test('a D1 that never answers keeps no lease from expiring, and is not asked twice at once', async () => {
    const pool = await TestPool.create()
    const runner = await TestRunner.register(pool)
    const { id } = await pool.enqueue({ max_attempts: 1 })
    await runner.sync([running(await runner.offered())])
    let asked = 0
    await pool.replaceD1(database => ({
      prepare: (query: string) => database.prepare(query),
      batch: () => {
        asked += 1
        return new Promise(() => {})
      },
    }))
    await pool.nextAlarm()
    pass(60_000)
    await pool.nextAlarm()
    expect(await pool.rows('SELECT * FROM leases')).toEqual([])
    expect(value(await pool.rpc.getRun(id)).status).toBe('lost')
    expect(asked).toBe(1)
  })

  test('an alarm that finds its own storage broken is armed again and does not throw', async () => {
    const pool = await TestPool.create()
    const error = vi.spyOn(console, 'error').mockImplementation(() => {})
    await pool.enqueue({ command: ['canary'] })
    await pool.rows('ALTER TABLE leases RENAME TO leases_away')
    await pool.nextAlarm()
    expect(await pool.alarmAt()).toBe(Date.now() + 5_000)
    expect(error.mock.calls.flat().join()).toContain('"event":"pool_alarm_failed"')
    expect(error.mock.calls.flat().join()).not.toContain('canary')
    await pool.rows('ALTER TABLE leases_away RENAME TO leases')
    await pool.nextAlarm()
    expect(await pool.rows('SELECT * FROM outbox')).toEqual([])
  })

  test('an alarm that cannot look at the leases still brings the history to D1, and forgets what is old', async () => {
    const pool = await TestPool.create()
    vi.spyOn(console, 'error').mockImplementation(() => {})
    const { id: old } = await pool.enqueue()
    value(await pool.rpc.cancelRun(old))
    pass(26 * HOUR_MS)
    const { id } = await pool.enqueue()
    await pool.rows('ALTER TABLE leases RENAME TO leases_away')
    await pool.alarm()
    expect(await pool.projectedRun(id)).toMatchObject({ status: 'queued' })
    expect(await pool.rows('SELECT run_id FROM runs')).toEqual([{ run_id: id }])
    expect(await pool.alarmAt()).toBe(Date.now() + 5_000)
  })

  test.for([1, 2, 3])(
    'for one write in five, no run is lost and the history comes to equal the pool (seed %i)',
    async seed => {
      const pool = await TestPool.create()
      const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
      const random = randomFrom(seed)
      const fail = () => pool.replaceD1(database => failingD1(database, random))
      await fail()
      const runner = await TestRunner.register(pool, { max_concurrency: 4 })
      const runs: Run[] = []
      let live: string[] = []
      for (let i = 0; i < 60; i++) {
        if (i < 40) runs.push(await pool.enqueue({ max_attempts: 1 }))
        const reply = await runner.sync(live.map(id => (i % 3 === 0 ? running(id) : exited(id, i % 2))))
        const kept = reply.leases.flatMap(lease => (lease.verdict === 'keep' ? [lease.session_id] : []))
        live = [...kept, ...reply.offers.map(offer => offer.session_id)]
        await pool.passWithAlarms(700)
        if (i % 7 !== 0) continue
        await pool.evict()
        await fail()
      }
      await runner.sync(live.map(id => exited(id)))
      await pool.passWithAlarms(600_000)
      expect(warn).toHaveBeenCalled()
      await expectHistoryToEqual(pool, runs)
    },
  )

  test('for some rows of every batch, the history still comes to equal the pool', async () => {
    const pool = await TestPool.create()
    vi.spyOn(console, 'warn').mockImplementation(() => {})
    await breakHistory('random() % 5 = 0')
    const runner = await TestRunner.register(pool, { max_concurrency: 10 })
    const runs: Run[] = []
    for (let i = 0; i < 10; i++) runs.push(await pool.enqueue())
    const { offers } = await runner.sync()
    await runner.sync(offers.map(offer => exited(offer.session_id)))
    await pool.passWithAlarms(2 * HOUR_MS)
    await expectHistoryToEqual(pool, runs)
  })

  test('a copy of a run that arrives late never replaces a newer one', async () => {
    const pool = await TestPool.create()
    const { run: early, version } = value(await pool.rpc.enqueue(newRun()))
    value(await pool.rpc.cancelRun(early.id))
    await pool.nextAlarm()
    const newest = await pool.run(early.id)
    await projectRuns(env.DB, [{ tenantId: pool.identity.tenant_id, version, run: early, events: [] }])
    expect(await pool.projectedRun(early.id)).toEqual(newest)
  })
})

/** I9: at rest, D1 and the object say the same of every run. */
async function expectHistoryToEqual(pool: TestPool, runs: readonly Run[]): Promise<void> {
  expect(await pool.rows('SELECT * FROM outbox')).toEqual([])
  for (const { id } of runs) {
    const run = await pool.run(id)
    expect(['succeeded', 'failed']).toContain(run.status)
    expect(await pool.projectedRun(id)).toEqual(run)
    const events = await pool.projectedEvents(id)
    expect(events.filter(type => type !== 'running')).toEqual(['queued', 'offered', run.status])
  }
}

describe('an ended run', () => {
  async function ended(pool: TestPool, more = {}): Promise<Run> {
    const runner = await TestRunner.register(pool)
    const { id } = await pool.enqueue(more)
    await runner.sync([exited(await runner.offered())])
    return await pool.run(id)
  }

  /** The protection of a repeated `enqueue` ends here; past it the Worker answers from D1, which keeps the claim. */
  test('is kept for 25 hours, in which the same id starts nothing, and then forgotten', async () => {
    const pool = await TestPool.create()
    const run = await ended(pool)
    await pool.nextAlarm()
    const endedAt = Date.parse(run.finished_at ?? '')
    expect(await pool.alarmAt()).toBe(endedAt + 25 * HOUR_MS)
    pass(25 * HOUR_MS - 2_000)
    await pool.evict()
    await pool.alarm()
    const repeated = value(await pool.rpc.enqueue(newRun({ run_id: run.id })))
    expect(repeated).toMatchObject({ created: false, run })
    expect(value(await pool.rpc.summary()).stats.queued).toBe(0)
    pass(1_001)
    await pool.alarm()
    expect(outcome(await pool.rpc.getRun(run.id))).toBe('not_found')
    expect(await pool.projectedRun(run.id)).toEqual(run)
    for (const table of ['runs', 'retention', 'queue_deadlines', 'outbox', 'leases']) {
      expect(await pool.rows(`SELECT * FROM ${table}`), table).toEqual([])
    }
    expect(await pool.alarmAt()).toBeNull()
  })

  test('is kept for as long as D1 does not have it', async () => {
    const pool = await TestPool.create()
    vi.spyOn(console, 'warn').mockImplementation(() => {})
    await breakHistory('1')
    const run = await ended(pool)
    pass(30 * HOUR_MS)
    await pool.alarm()
    expect(await pool.run(run.id)).toEqual(run)
    await mendHistory()
    await pool.nextAlarm()
    expect(await pool.projectedRun(run.id)).toEqual(run)
    expect(outcome(await pool.rpc.getRun(run.id))).toBe('not_found')
  })
})
