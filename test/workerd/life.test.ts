import { describe, expect, test } from 'vitest'
import {
  abortAll,
  exited,
  hashOf,
  newRegistration,
  newRun,
  pass,
  running,
  TestPool,
  TestRunner,
  value,
} from './world.ts'

/**
 * The life of a run over RPC. An object may be put to sleep or die between any two calls; whatever its memory
 * held is then gone, and nothing a user or a runner can see may differ.
 */

const MISHAPS: Record<string, (pool: TestPool) => Promise<void>> = {
  'nothing happens': async () => {},
  'the object is evicted': pool => pool.evict(),
  'the object is aborted': () => abortAll(),
  'the object is evicted and its alarm is lost': async pool => {
    await pool.loseAlarm()
    await pool.evict()
  },
}

describe.for(Object.entries(MISHAPS))('when %s between every two steps', ([, mishap]) => {
  test('a run goes from the queue to its end, every call may be repeated, and nothing happens twice', async () => {
    const pool = await TestPool.create()
    await mishap(pool)
    await pool.rpc.initialise(pool.identity)
    await mishap(pool)
    const runner = await TestRunner.register(pool)
    await mishap(pool)
    const input = newRun({ env: { TOKEN: 'secret' } })
    expect(value(await pool.rpc.enqueue(input)).created).toBe(true)
    await mishap(pool)
    expect(value(await pool.rpc.enqueue(input)).created).toBe(false)
    await mishap(pool)

    const first = await runner.sync()
    expect(first.offers).toMatchObject([
      { run_id: input.run_id, attempt: 1, job: { env: { TOKEN: 'secret' }, command: ['npm', 'test'] } },
    ])
    const session = first.offers[0]?.session_id ?? ''
    await mishap(pool)
    expect((await runner.sync()).offers).toMatchObject([{ session_id: session, attempt: 1 }])
    await mishap(pool)
    for (const state of ['accepted', 'accepted', 'pulling', 'starting', 'running', 'running'] as const) {
      const reply = await runner.sync([{ session_id: session, state }])
      expect(reply).toMatchObject({
        stale: false,
        offers: [],
        leases: [{ session_id: session, verdict: 'keep' }],
      })
      pass(20_000)
      await mishap(pool)
    }
    for (let repeated = 0; repeated < 2; repeated++) {
      const reply = await runner.sync([exited(session)])
      expect(reply.leases).toEqual([{ session_id: session, verdict: 'forget' }])
      await mishap(pool)
    }
    expect((await runner.sync()).offers).toEqual([])
    await mishap(pool)

    const run = await pool.run(input.run_id)
    expect(run).toMatchObject({ status: 'succeeded', attempt: 1, exit_code: 0, failure: null })
    await pool.nextAlarm()
    expect(await pool.projectedEvents(run.id)).toEqual([
      'queued',
      'offered',
      'starting',
      'running',
      'succeeded',
    ])
    expect(await pool.projectedRun(run.id)).toEqual(run)
    expect(await pool.rows('SELECT * FROM run_env')).toEqual([])
  })

  test('a cancel ends a waiting run at once and is obeyed by the runner of any other', async () => {
    const pool = await TestPool.create()
    const runner = await TestRunner.register(pool, { max_concurrency: 1 })
    const taken = await pool.enqueue()
    const session = await runner.offered()
    await runner.sync([running(session)])
    const waiting = await pool.enqueue()
    await mishap(pool)
    expect(value(await pool.rpc.cancelRun(waiting.id)).status).toBe('cancelled')
    await mishap(pool)
    expect(value(await pool.rpc.cancelRun(taken.id)).status).toBe('stopping')
    await mishap(pool)
    expect(value(await pool.rpc.cancelRun(taken.id)).status).toBe('stopping')
    await mishap(pool)

    const [command] = (await runner.sync([running(session)])).commands
    expect(command).toMatchObject({ type: 'stop_session', session_id: session, reason: 'cancelled' })
    await mishap(pool)
    expect((await runner.sync([running(session)])).commands).toEqual([command])
    await mishap(pool)
    const ended = { ...exited(session, 143), exit: { code: 143, reason: 'stopped' as const } }
    const reply = await runner.sync([ended], { acks: [command?.id ?? ''] })
    expect(reply).toMatchObject({ commands: [], leases: [{ verdict: 'forget' }] })
    await mishap(pool)

    expect(value(await pool.rpc.cancelRun(taken.id))).toMatchObject({ status: 'cancelled', exit_code: 143 })
    await pool.nextAlarm()
    expect(await pool.projectedEvents(waiting.id)).toEqual(['queued', 'cancelled'])
    expect(await pool.projectedEvents(taken.id)).toEqual([
      'queued',
      'offered',
      'running',
      'stopping',
      'cancelled',
    ])
  })

  test('a lease that nobody renews expires, and another runner has the run as a new session', async () => {
    const pool = await TestPool.create()
    const silent = await TestRunner.register(pool)
    const { id } = await pool.enqueue()
    const session = await silent.offered()
    await silent.sync([running(session)])
    await mishap(pool)
    pass(59_999)
    expect(await pool.run(id)).toMatchObject({ status: 'running', session_id: session })
    await mishap(pool)
    pass(1)
    const other = await TestRunner.register(pool)
    await mishap(pool)
    expect((await pool.run(id)).status).toBe('queued')
    await mishap(pool)
    const next = await other.offered()
    expect(next).not.toBe(session)
    await mishap(pool)
    expect((await silent.sync([running(session)])).leases).toEqual([{ session_id: session, verdict: 'stop' }])
    await mishap(pool)
    expect((await silent.sync([exited(session)])).leases).toEqual([
      { session_id: session, verdict: 'forget' },
    ])
    await mishap(pool)
    await other.sync([exited(next)])
    await mishap(pool)
    expect(await pool.run(id)).toMatchObject({ status: 'succeeded', attempt: 2, session_id: next })
    await pool.nextAlarm()
    expect(await pool.projectedEvents(id)).toEqual([
      'queued',
      'offered',
      'running',
      'lease_expired',
      'queued',
      'offered',
      'succeeded',
    ])
  })

  test('a request that overtakes an older one leaves nothing of it', async () => {
    const pool = await TestPool.create()
    const runner = await TestRunner.register(pool)
    await pool.enqueue()
    const session = await runner.offered()
    const late = runner.request([])
    const later = runner.request([running(session)])
    value(await pool.rpc.sync(runner.id, runner.hash, later))
    await mishap(pool)
    for (const old of [late, later]) {
      const reply = value(await pool.rpc.sync(runner.id, runner.hash, old))
      expect(reply).toMatchObject({ stale: true, offers: [], commands: [], leases: [] })
      await mishap(pool)
    }
    expect((await runner.sync([running(session)])).leases).toEqual([{ session_id: session, verdict: 'keep' }])
  })
})

describe('a clock that was set back while the object slept', () => {
  test('does not take time back: nothing happens before what it rests on', async () => {
    const pool = await TestPool.create()
    const runner = await TestRunner.register(pool)
    const { id } = await pool.enqueue()
    const session = await runner.offered()
    pass(5_000)
    const before = await runner.sync([running(session)])
    pass(-3_600_000)
    await pool.evict()
    const after = await runner.sync([running(session)])
    expect(after.server_time >= before.server_time).toBe(true)
    await runner.sync([exited(session)])
    const run = await pool.run(id)
    expect(run.finished_at ?? '').toBe(run.started_at)
  })
})

test('a call that its storage refuses changes nothing, in memory no more than on disk', async () => {
  const pool = await TestPool.create()
  await pool.rows(`CREATE TRIGGER full BEFORE UPDATE ON pool BEGIN SELECT RAISE(ABORT, 'full'); END`)
  expect(await pool.thrownBy(object => object.setState('draining', 'by nobody'))).toContain('full')
  expect(value(await pool.rpc.summary())).toMatchObject({ state: 'active', note: null })
  await pool.rows('DROP TRIGGER full')
  expect(value(await pool.rpc.setState('draining', 'by somebody'))).toMatchObject({ note: 'by somebody' })
})

describe('a credential', () => {
  test('that is pending works, and the old one dies at its first use, whatever that is', async () => {
    const uses: Record<string, (runner: TestRunner) => Promise<unknown>> = {
      sync: runner => runner.sync(),
      authenticate: async runner => value(await runner.pool.rpc.authenticateRunner(runner.id, runner.hash)),
      doorbell: runner => runner.doorbell(),
      rotate: async runner =>
        value(await runner.pool.rpc.rotateCredential(runner.id, runner.hash, hashOf('next'))),
    }
    for (const [name, use] of Object.entries(uses)) {
      const pool = await TestPool.create()
      const runner = await TestRunner.register(pool)
      const old = runner.hash
      value(await pool.rpc.rotateCredential(runner.id, old, hashOf('dropped')))
      value(await pool.rpc.rotateCredential(runner.id, old, hashOf('fresh')))
      await pool.evict()
      await runner.sync()
      runner.hash = hashOf('dropped')
      expect(await runner.trySync(), name).toMatchObject({ error: { code: 'unauthenticated' } })
      runner.hash = hashOf('fresh')
      await use(runner)
      await pool.evict()
      runner.hash = old
      expect(await runner.trySync(), name).toMatchObject({ error: { code: 'unauthenticated' } })
    }
  })

  test('of a process that asked again before its first sync is replaced, for the same runner', async () => {
    const pool = await TestPool.create()
    const registration = newRegistration()
    const first = value(await pool.rpc.register(registration))
    await pool.evict()
    expect(value(await pool.rpc.previewRegistration(registration))).toBe('repeat')
    const again = { ...registration, credential_hash: hashOf('second'), fresh_runner_id: 'rnr_of_no_use' }
    expect(value(await pool.rpc.register(again)).runner_id).toBe(first.runner_id)
    const known = (hash: string) => pool.rpc.authenticateRunner(first.runner_id, hash)
    expect(await known(registration.credential_hash)).toMatchObject({ error: { code: 'unauthenticated' } })
    expect(await known(again.credential_hash)).toMatchObject({ ok: true })
    expect(value(await pool.rpc.listRunners(10, null)).items).toHaveLength(1)
  })

  test('does not let a second process in after the first sync, until the runner is offline', async () => {
    const pool = await TestPool.create()
    const registration = newRegistration({ name: 'only-one' })
    const { runner_id } = value(await pool.rpc.register(registration))
    const runner = { boot: 1, boot_id: registration.boot_id, seq: 1, protocol: 1, draining: false }
    const body = { ...runner, inventory: 'complete' as const, slots: { max: 1 }, leases: [], acks: [] }
    value(await pool.rpc.sync(runner_id, registration.credential_hash, body))
    expect(await pool.rpc.register(registration)).toMatchObject({ error: { code: 'runner_name_taken' } })
    pass(45_000)
    const newcomer = newRegistration({ name: 'only-one', credential_hash: hashOf('newcomer') })
    expect(value(await pool.rpc.register(newcomer)).runner_id).toBe(runner_id)
  })

  test.for(['removed', 'removed by force', 'deregistered by itself'])(
    'of a runner that is %s dies at once',
    async how => {
      const pool = await TestPool.create()
      const runner = await TestRunner.register(pool)
      await pool.enqueue()
      const session = await runner.offered()
      await runner.sync([running(session)])
      if (how === 'deregistered by itself') value(await pool.rpc.deregister(runner.id, runner.hash))
      else value(await pool.rpc.removeRunner(runner.id, how === 'removed by force'))
      for (let evicted = 0; evicted < 2; evicted++) {
        expect(await runner.trySync([running(session)])).toMatchObject({ error: { code: 'unauthenticated' } })
        const refused = await runner.dial()
        expect(refused.status).toBe(401)
        // A body that nobody reads would keep the object awake.
        await refused.text()
        expect(value(await pool.rpc.listRunners(10, null)).items).toEqual([])
        await pool.evict()
      }
    },
  )
})
