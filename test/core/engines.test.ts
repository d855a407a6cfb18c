import { beforeEach, describe, expect, test } from 'vitest'
import { RULES, running, TestPool, TestRunner, verdictOf } from './pool-fixture.ts'

/** A name, or a state directory, that turns up on another host: what was given to the first may still run there. */

const ELSEWHERE = { id: 'engine-elsewhere', version: '20' }

let pool: TestPool
let runner: TestRunner
beforeEach(() => {
  pool = new TestPool()
  runner = new TestRunner(pool, 'one')
})

function takeOver(engine = ELSEWHERE): TestRunner {
  return new TestRunner(pool, 'one', { boot_id: 'another-boot', credential_hash: 'fresh', engine })
}

describe('an offer that the runner has not listed', () => {
  test('is not given to another host that takes the name; the run goes on as a new session once it has lapsed', () => {
    pool.rules = { ...RULES, offerTtlMs: 600_000 }
    pool.enqueue('run_1')
    const session = runner.sync().offers[0]?.session_id
    pool.pass(50_000)
    const next = takeOver()
    expect(next.id).toBe(runner.id)
    expect(next.sync().offers).toEqual([])
    pool.pass(550_000 + RULES.leaseGraceMs - 1)
    expect(next.sync().offers).toEqual([])
    pool.pass(1)
    expect(next.sync().offers, 'the runner has just had it, by name').toEqual([])
    pool.pass(10_000)
    const [offer] = next.sync().offers
    expect(offer).toMatchObject({ run_id: 'run_1', attempt: 2 })
    expect(offer?.session_id).not.toBe(session)
  })

  test('is given again to the same Engine’s next registration', () => {
    pool.rules = { ...RULES, offerTtlMs: 600_000 }
    pool.enqueue('run_1')
    const session = runner.sync().offers[0]?.session_id
    pool.pass(50_000)
    const next = takeOver({ id: 'engine-one', version: '21' })
    expect(next.sync().offers).toMatchObject([{ session_id: session, attempt: 1 }])
  })

  test('is not given in reply to a leaving sync, nor to another host that has the name right after', () => {
    pool.enqueue('run_1')
    runner.sync()
    expect(runner.sync([], { leaving: true }).offers).toEqual([])
    expect(takeOver().sync().offers).toEqual([])
  })

  test('is given again to the next process of a runner that has left, on the same Engine', () => {
    pool.enqueue('run_1')
    const session = runner.sync().offers[0]?.session_id
    runner.sync([], { leaving: true })
    runner.restart()
    expect(runner.sync().offers).toMatchObject([{ session_id: session }])
  })

  test('is not given again once a sync comes from another Engine', () => {
    pool.enqueue('run_1')
    runner.sync()
    runner.restart()
    expect(runner.sync([], { engine: ELSEWHERE }).offers).toEqual([])
  })
})

describe('a session that runs, when a sync with a higher boot comes from another Engine', () => {
  test('ends at its own time and not sooner, whatever is listed there', () => {
    pool.enqueue('run_1')
    const session = runner.take()
    runner.sync([running(session)])
    runner.restart()
    for (let i = 0; i < 4; i++) expect(runner.sync([], { engine: ELSEWHERE }).offers).toEqual([])
    expect(pool.run('run_1')).toMatchObject({ status: 'running', session_id: session })
    pool.pass(RULES.leaseTtlMs + RULES.leaseGraceMs)
    pool.sweep()
    expect(pool.run('run_1').status).toBe('queued')
    expect(pool.events('run_1')).toContain('lease_expired')
  })

  test('is kept where it is listed, and from then on its absence counts again', () => {
    pool.enqueue('run_1', { max_attempts: 1 })
    const session = runner.take()
    runner.restart()
    runner.sync([], { engine: ELSEWHERE })
    expect(verdictOf(runner.sync([running(session)], { engine: ELSEWHERE }), session)).toBe('keep')
    runner.sync([], { engine: ELSEWHERE })
    runner.sync([], { engine: ELSEWHERE })
    expect(pool.run('run_1').failure?.code).toBe('runner_lost_session')
  })

  test('is missed as ever when only the Engine’s version is another', () => {
    pool.enqueue('run_1', { max_attempts: 1 })
    runner.take()
    const engine = { id: 'engine-one', version: '21' }
    runner.sync([], { engine })
    runner.sync([], { engine })
    expect(pool.run('run_1').failure?.code).toBe('runner_lost_session')
  })
})
