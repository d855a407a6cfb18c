import { beforeEach, describe, expect, test } from 'vitest'
import { exited, RULES, running, TestPool, TestRunner, verdictOf } from './pool-fixture.ts'

let pool: TestPool
let runner: TestRunner
beforeEach(() => {
  pool = new TestPool()
  runner = new TestRunner(pool, 'one')
})

describe('an offer', () => {
  test('is given again, the same session, until the runner lists it', () => {
    pool.enqueue('run_1')
    const [first] = runner.sync().offers
    pool.pass(5_000)
    const [again] = runner.sync().offers
    expect(again?.session_id).toBe(first?.session_id)
    expect(again?.attempt).toBe(1)
    expect(runner.sync([{ session_id: again?.session_id ?? '', state: 'accepted' }]).offers).toEqual([])
  })

  test('tells the time left when the reply is made, which never grows', () => {
    pool.enqueue('run_1')
    expect(runner.sync().offers[0]?.offer_ttl_ms).toBe(RULES.offerTtlMs)
    pool.pass(6_000)
    expect(runner.sync().offers[0]?.offer_ttl_ms).toBe(RULES.offerTtlMs - 6_000)
  })

  test('is not given again once its time is over, but a listing before the grace ends is kept', () => {
    pool.enqueue('run_1')
    const session = runner.sync().offers[0]?.session_id ?? ''
    pool.pass(RULES.offerTtlMs + 1)
    expect(runner.sync().offers).toEqual([])
    pool.pass(RULES.leaseGraceMs - 2)
    expect(verdictOf(runner.sync([running(session)]), session)).toBe('keep')
    expect(pool.run('run_1').status).toBe('running')
  })

  test('goes to another runner only after the grace, as a new session that counts for `attempt` alone', () => {
    pool.enqueue('run_1', { max_attempts: 1 })
    const other = new TestRunner(pool, 'two')
    const session = runner.sync().offers[0]?.session_id
    pool.pass(RULES.offerTtlMs + RULES.leaseGraceMs - 1)
    pool.sweep()
    expect(other.sync().offers).toEqual([])
    pool.pass(1)
    pool.sweep()
    const [next] = other.sync().offers
    expect(next?.run_id).toBe('run_1')
    expect(next?.session_id).not.toBe(session)
    expect(next?.attempt).toBe(2)
    expect(pool.events('run_1')).toContain('offer_lapsed')
    other.sync([exited(next?.session_id ?? '', 0)])
    expect(pool.run('run_1').status).toBe('succeeded')
  })

  test('never exceeds the slots the runner does not hold, listed or offered', () => {
    for (let i = 0; i < 5; i++) pool.enqueue(`run_${i}`)
    expect(runner.sync().offers).toHaveLength(2)
    expect(runner.sync().offers).toHaveLength(2)
    expect(runner.sync([running('ses_stranger'), running('ses_other')]).offers).toHaveLength(2)
    const sessions = runner.sync().offers.map(offer => running(offer.session_id))
    expect(runner.sync(sessions).offers).toEqual([])
    const [first, second] = sessions
    if (first === undefined || second === undefined) throw new Error('two sessions were expected')
    expect(runner.sync([exited(first.session_id, 0), second]).offers).toHaveLength(1)
  })

  test('is not made to a draining runner, a draining pool, a leaving runner or with the feature off', () => {
    pool.enqueue('run_1')
    expect(runner.sync([], { draining: true }).offers).toEqual([])
    expect(runner.sync([], { leaving: true }).offers).toEqual([])
    pool.offersAllowed = false
    expect(runner.sync().offers).toEqual([])
    pool.offersAllowed = true
    expect(runner.sync().offers).toHaveLength(1)
  })

  test('carries the environment, which is gone when the run has ended', () => {
    pool.enqueue('run_1', { env: { TOKEN: 'canary' } })
    const [offer] = runner.sync().offers
    expect(offer?.job.env).toEqual({ TOKEN: 'canary' })
    runner.sync([exited(offer?.session_id ?? '', 0)])
    expect(pool.store.runs.env('run_1')).toEqual({})
  })
})

describe('the order of the queue', () => {
  test('is priority, then age, across label sets', () => {
    const labelled = new TestRunner(pool, 'labelled', {
      labels: { gpu: 'no', os: 'linux' },
      max_concurrency: 4,
    })
    pool.enqueue('run_old')
    pool.pass(10)
    pool.enqueue('run_labelled', { labels: { os: 'linux' } })
    pool.pass(10)
    pool.enqueue('run_urgent', { priority: 5 })
    pool.pass(10)
    pool.enqueue('run_new', { labels: { os: 'linux' } })
    expect(labelled.sync().offers.map(offer => offer.run_id)).toEqual([
      'run_urgent',
      'run_old',
      'run_labelled',
      'run_new',
    ])
  })

  test('gives a run only to a runner with all its labels', () => {
    pool.enqueue('run_1', { labels: { os: 'linux', zone: 'b' } })
    expect(runner.sync().offers).toEqual([])
    const fitting = new TestRunner(pool, 'fitting', { labels: { os: 'linux', zone: 'b', more: 'x' } })
    expect(fitting.sync().offers).toHaveLength(1)
  })

  test('passes over what does not fit into memory, without holding up the rest', () => {
    const health = { memory_free_mb: 1_000, disk_free_mb: 1_000, load1: 0 }
    pool.enqueue('run_big', { resources: { memory_mb: 2_000 }, priority: 9 })
    pool.enqueue('run_small', { resources: { memory_mb: 600 } })
    pool.enqueue('run_small_too', { resources: { memory_mb: 600 } })
    expect(runner.sync([], { health }).offers.map(offer => offer.run_id)).toEqual(['run_small'])
  })
})

describe('the clock rule', () => {
  test('ends an attempt only at TTL and grace after the last renewal, and the next one is a new session', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    pool.pass(RULES.leaseTtlMs + RULES.leaseGraceMs - 1)
    pool.sweep()
    expect(pool.run('run_1').session_id).toBe(session)
    pool.pass(1)
    pool.sweep()
    expect(pool.run('run_1').status).toBe('queued')
    expect(pool.events('run_1')).toContain('lease_expired')
  })

  test('holds without the alarm: whoever looks finds the lease expired', () => {
    pool.enqueue('run_1', { max_attempts: 1 })
    runner.take()
    pool.pass(RULES.leaseTtlMs + RULES.leaseGraceMs)
    expect(pool.run('run_1')).toMatchObject({
      status: 'lost',
      failure: { code: 'lease_expired', domain: 'runner' },
    })
  })

  test('every sync that lists the session renews it', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    for (let i = 0; i < 10; i++) {
      pool.pass(RULES.leaseTtlMs)
      expect(verdictOf(runner.sync([running(session)]), session)).toBe('keep')
      pool.sweep()
    }
    expect(pool.run('run_1').status).toBe('running')
  })

  test('a sync that does not list the session does not renew it, whatever else it renews', () => {
    pool.enqueue('run_1')
    pool.enqueue('run_2')
    const [one, two] = runner.sync().offers.map(offer => offer.session_id)
    if (one === undefined || two === undefined) throw new Error('two offers were expected')
    runner.sync([running(one), running(two)])
    for (let i = 0; i < 6; i++) {
      pool.pass(10_000)
      runner.sync([running(one)], { inventory: 'unknown', draining: true })
    }
    expect(pool.run('run_1').status).toBe('running')
    expect(pool.run('run_2').status).toBe('queued')
  })

  test('a leaving runner’s leases last for the handover', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    expect(runner.sync([running(session)], { leaving: true }).lease_ttl_ms).toBe(RULES.handoverMs)
    pool.pass(RULES.handoverMs + RULES.leaseGraceMs - 1)
    pool.sweep()
    expect(pool.run('run_1').status).toBe('running')
    runner.restart()
    expect(verdictOf(runner.sync([running(session)]), session)).toBe('keep')
    pool.pass(RULES.leaseTtlMs + RULES.leaseGraceMs)
    pool.sweep()
    expect(pool.run('run_1').status).toBe('queued')
  })
})

describe('the fence', () => {
  test('nothing an expired session’s runner says changes the run', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    pool.pass(RULES.leaseTtlMs + RULES.leaseGraceMs)
    pool.sweep()
    const before = pool.run('run_1')
    const reply = runner.sync([exited(session, 0)], { draining: true })
    expect(verdictOf(reply, session)).toBe('forget')
    expect(pool.run('run_1')).toEqual(before)
  })

  test('verdicts: live is kept, dead but running is stopped, exited is forgotten, known or not', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    const reply = runner.sync([running(session), running('ses_unknown'), exited('ses_gone', 0)])
    expect(reply.leases).toEqual([
      { session_id: session, verdict: 'keep' },
      { session_id: 'ses_unknown', verdict: 'stop' },
      { session_id: 'ses_gone', verdict: 'forget' },
    ])
    expect(verdictOf(runner.sync([exited(session, 3)]), session)).toBe('forget')
    expect(verdictOf(runner.sync([exited(session, 3)]), session)).toBe('forget')
    expect(pool.run('run_1')).toMatchObject({
      status: 'failed',
      exit_code: 3,
      failure: { code: 'non_zero_exit' },
    })
  })

  test('another runner’s listing of the session is told to stop and changes nothing', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    const rogue = new TestRunner(pool, 'rogue')
    expect(verdictOf(rogue.sync([running(session)]), session)).toBe('stop')
    expect(verdictOf(rogue.sync([exited(session, 0)]), session)).toBe('forget')
    expect(pool.run('run_1')).toMatchObject({ status: 'starting', runner_id: runner.id })
  })

  test('states only move forward and may be skipped', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    runner.sync([running(session)])
    runner.sync([{ session_id: session, state: 'pulling' }])
    expect(pool.run('run_1').status).toBe('running')
    pool.enqueue('run_2')
    const [offer] = runner.sync([running(session)]).offers
    runner.sync([running(session), exited(offer?.session_id ?? '', 0)])
    expect(pool.run('run_2').status).toBe('succeeded')
  })
})

describe('seq', () => {
  test('a repeated or older sync is stale and applies nothing, acks included', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    const old = runner.request([running(session)])
    pool.cancel('run_1')
    const [command] = runner.sync([running(session)]).commands
    if (command === undefined) throw new Error('a stop was expected')
    const reply = runner.send({ ...old, leases: [exited(session, 0)], acks: [command.id] })
    expect(reply).toMatchObject({ stale: true, offers: [], commands: [], leases: [] })
    expect(pool.run('run_1').status).toBe('stopping')
    expect(runner.sync([running(session)]).commands).toEqual([command])
  })

  test('is remembered over hibernation whenever it carried anything', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    const empty = runner.request([])
    runner.sync([running(session)])
    pool.evict()
    expect(runner.send(empty).stale).toBe(true)
  })

  test('counts anew for a new boot', () => {
    runner.sync()
    runner.sync()
    runner.restart()
    expect(runner.sync().stale).toBe(false)
  })
})

describe('boot', () => {
  test('an old process back from a pause is superseded and changes nothing', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    const old = { boot: runner.boot, boot_id: runner.bootId }
    runner.restart()
    runner.sync([running(session)])
    expect(() => runner.sync([], { ...old, seq: 99 })).toThrow('boot_superseded')
    expect(pool.run('run_1').status).toBe('running')
  })

  test('a cloned state directory: the same boot with another boot id is superseded', () => {
    runner.sync()
    expect(() => runner.sync([], { boot_id: 'clone-boot' })).toThrow('boot_superseded')
    expect(runner.sync().stale).toBe(false)
  })

  test('a lower boot is superseded whatever boot id it has', () => {
    runner.sync()
    expect(() => runner.sync([], { boot: runner.boot - 1 })).toThrow('boot_superseded')
  })

  test('a new boot keeps the leases it lists', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    runner.restart()
    expect(verdictOf(runner.sync([running(session)], { inventory: 'unknown' }), session)).toBe('keep')
  })
})

describe('inventory', () => {
  test('two complete ones in a row without an accepted lease end its attempt', () => {
    pool.enqueue('run_1', { max_attempts: 1 })
    runner.take()
    runner.sync()
    expect(pool.run('run_1').status).toBe('starting')
    runner.sync()
    expect(pool.run('run_1')).toMatchObject({ status: 'lost', failure: { code: 'runner_lost_session' } })
  })

  test('an unknown one between them neither counts nor resets', () => {
    pool.enqueue('run_1', { max_attempts: 1 })
    runner.take()
    runner.sync()
    for (let i = 0; i < 3; i++) runner.sync([], { inventory: 'unknown' })
    expect(pool.run('run_1').status).toBe('starting')
    runner.sync()
    expect(pool.run('run_1').status).toBe('lost')
  })

  test('a listing in between resets the count', () => {
    pool.enqueue('run_1', { max_attempts: 1 })
    const session = runner.take()
    runner.sync()
    runner.sync([running(session)])
    runner.sync()
    expect(pool.run('run_1').status).toBe('running')
  })
})

describe('a stop', () => {
  test('is ordered in every reply until acked, and anew while the session still lives', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    pool.cancel('run_1')
    const [first] = runner.sync([running(session)]).commands
    expect(first).toMatchObject({ type: 'stop_session', session_id: session, reason: 'cancelled' })
    expect(runner.sync([running(session)]).commands).toEqual([first])
    const [second] = runner.sync([running(session)], { acks: [first?.id ?? ''] }).commands
    expect(second).toMatchObject({ type: 'stop_session', session_id: session })
    expect(second?.id).not.toBe(first?.id)
    runner.sync([exited(session, 143, 'stopped')], { acks: [second?.id ?? ''] })
    expect(pool.run('run_1')).toMatchObject({ status: 'cancelled', exit_code: 143, failure: null })
    expect(runner.sync().commands).toEqual([])
  })

  test('of another runner is not acked by this one, and an unknown id is ignored', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    pool.cancel('run_1')
    const [command] = runner.sync([running(session)]).commands
    new TestRunner(pool, 'rogue').sync([], { acks: [command?.id ?? '', 'cmd_nothing'] })
    expect(runner.sync([running(session)]).commands).toEqual([command])
  })

  test('of an offer nobody listed ends the run at the ack; the offer is not given again', () => {
    pool.enqueue('run_1')
    runner.sync()
    expect(pool.cancel('run_1').status).toBe('stopping')
    const reply = runner.sync()
    expect(reply.offers).toEqual([])
    runner.sync([], { acks: reply.commands.map(command => command.id) })
    expect(pool.run('run_1').status).toBe('cancelled')
  })

  test('of an offer whose runner is gone ends the run when the offer lapses', () => {
    pool.enqueue('run_1')
    runner.sync()
    pool.cancel('run_1')
    pool.pass(RULES.offerTtlMs + RULES.leaseGraceMs)
    pool.sweep()
    expect(pool.run('run_1').status).toBe('cancelled')
  })

  test('recorded before the end wins over success and over a lost runner, and is idempotent', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    pool.cancel('run_1')
    runner.sync([exited(session, 0)])
    expect(pool.run('run_1')).toMatchObject({ status: 'cancelled', exit_code: 0 })
    expect(pool.cancel('run_1').status).toBe('cancelled')
    pool.enqueue('run_2')
    runner.take()
    pool.cancel('run_2')
    pool.pass(RULES.leaseTtlMs + RULES.leaseGraceMs)
    expect(pool.run('run_2').status).toBe('cancelled')
  })

  test('for the timeout follows thirty seconds after the runner should have ended the session', () => {
    pool.enqueue('run_1', { timeout_seconds: 10 })
    const session = runner.take()
    runner.sync([running(session)])
    for (let i = 0; i < 39; i++) {
      pool.pass(1_000)
      expect(runner.sync([running(session)]).commands).toEqual([])
    }
    pool.pass(1_000)
    pool.sweep()
    const [command] = runner.sync([running(session)]).commands
    expect(command).toMatchObject({ type: 'stop_session', reason: 'timeout' })
    runner.sync([exited(session, 137, 'stopped')], { acks: [command?.id ?? ''] })
    expect(pool.run('run_1')).toMatchObject({
      status: 'timed_out',
      failure: { code: 'timeout', domain: 'test' },
    })
  })

  test('that the runner never carries out still ends the run', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    pool.cancel('run_1')
    for (let i = 0; i < 40; i++) {
      pool.pass(30_000)
      runner.sync([running(session)])
      pool.sweep()
    }
    expect(pool.run('run_1').status).toBe('cancelled')
    expect(verdictOf(runner.sync([running(session)]), session)).toBe('stop')
  })
})

describe('what is easily forgotten', () => {
  test('a lease listed again after a sync that left it out is renewed like any other', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    runner.sync([], { inventory: 'unknown' })
    for (let i = 0; i < 4; i++) {
      runner.sync([running(session)])
      pool.pass(RULES.leaseTtlMs)
      pool.sweep()
    }
    expect(pool.run('run_1').status).toBe('running')
  })

  test('a session that never gets to run is told to stop once pulling has had its half hour', () => {
    pool.enqueue('run_1', { timeout_seconds: 10 })
    const session = runner.take()
    const pulling = { session_id: session, state: 'pulling' } as const
    for (let i = 0; i < 61; i++) {
      expect(runner.sync([pulling]).commands).toEqual([])
      pool.pass(30_000)
      pool.sweep()
    }
    pool.pass(20_000)
    pool.sweep()
    expect(runner.sync([pulling]).commands).toMatchObject([{ type: 'stop_session', reason: 'timeout' }])
  })

  test('a timed-out session that is never ended is timed out, and nothing else', () => {
    pool.enqueue('run_1', { timeout_seconds: 10 })
    const session = runner.take()
    for (let i = 0; i < 40; i++) {
      runner.sync([running(session)])
      pool.pass(30_000)
      pool.sweep()
    }
    expect(pool.run('run_1')).toMatchObject({ status: 'timed_out', failure: { code: 'timeout' } })
  })

  test('the image’s digest and the start are kept, the start between the offer and now', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    pool.pass(1_000)
    const report = { session_id: session, state: 'running', image_digest: 'sha256:1' } as const
    runner.sync([{ ...report, started_at: '2020-01-01T00:00:00Z' }])
    const run = pool.run('run_1')
    expect(run.image_digest).toBe('sha256:1')
    expect(run.started_at).toBe(run.queued_at)
  })

  test('a notice is one event, however often it is repeated', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    for (let i = 0; i < 3; i++) runner.sync([{ ...running(session), notices: ['adopted'] }])
    expect(pool.events('run_1').filter(type => type === 'adopted')).toHaveLength(1)
  })

  test('memory promised to sessions that do not run yet is not promised again', () => {
    const health = { memory_free_mb: 1_000, disk_free_mb: 1_000, load1: 0 }
    pool.enqueue('run_1', { resources: { memory_mb: 600 } })
    pool.enqueue('run_2', { resources: { memory_mb: 600 } })
    const [offer] = runner.sync([], { health }).offers
    expect(runner.sync([], { health }).offers.map(again => again.session_id)).toEqual([offer?.session_id])
  })

  test('a run whose time in the queue is over is neither shown as waiting nor offered, alarm or not', () => {
    pool.enqueue('run_1', { queue_timeout_seconds: 60 })
    pool.enqueue('run_2', { queue_timeout_seconds: 60 })
    pool.pass(60_000)
    expect(pool.run('run_1').failure?.code).toBe('queue_timeout')
    expect(runner.sync().offers).toEqual([])
    expect(pool.run('run_2').failure?.code).toBe('queue_timeout')
    expect(pool.store.queue.lanes()).toEqual([])
  })

  test('a reply holds no more offers than fit, and the next ones bring the rest', () => {
    const large = new TestRunner(pool, 'large', { max_concurrency: 80 })
    for (let i = 0; i < 80; i++) pool.enqueue(`run_${i}`)
    const first = large.sync().offers.map(offer => running(offer.session_id))
    expect(first).toHaveLength(32)
    expect(large.sync().offers).toHaveLength(32)
    const second = large.sync(first).offers.map(offer => running(offer.session_id))
    expect(second).toHaveLength(32)
    expect(large.sync([...first, ...second]).offers).toHaveLength(16)
  })
})

describe('the interval', () => {
  test('is the idle one until something is open, then at most a quarter of the TTL', () => {
    expect(runner.sync().next_sync_in_ms).toBe(RULES.syncIdleMs)
    pool.pongs.set(runner.id, pool.now)
    expect(runner.sync().next_sync_in_ms).toBe(RULES.syncIdleMs * 60)
    pool.enqueue('run_1')
    expect(runner.sync().next_sync_in_ms).toBe(Math.floor(RULES.leaseTtlMs / 4))
  })
})
