import { beforeEach, describe, expect, test, vi } from 'vitest'
import {
  type Bell,
  LOOKS_PER_PLAN,
  type Need,
  needsOf,
  planRings,
  RING_ANSWER_MS,
  RING_GIVE_UP,
} from '../../durable-objects/runner-pool/core/doorbell.ts'
import { sweep } from '../../durable-objects/runner-pool/core/expiry.ts'
import { setRunnerState } from '../../durable-objects/runner-pool/core/runners.ts'
import { exited, running, TestPool, TestRunner } from './pool-fixture.ts'

let pool: TestPool
let bells: Map<string, Bell>
beforeEach(() => {
  pool = new TestPool()
  bells = new Map()
})

function connect(name: string, slots: number, labels: Record<string, string> = {}): TestRunner {
  const runner = new TestRunner(pool, name, { max_concurrency: slots, labels })
  runner.sync()
  bells.set(runner.id, { rungAt: null, unanswered: 0, promised: 0 })
  return runner
}

/** Plans, and rings whom the plan says, as the object does. */
function ring(scope: 'new' | 'all' = 'all', needs?: readonly Need[]) {
  const plan = pool.decide(ctx =>
    planRings(ctx, bells, needs ?? needsOf(ctx, ctx.store.queue.lanes()), scope),
  )
  for (const id of plan.ring) {
    bells.set(id, { rungAt: pool.now, unanswered: (bells.get(id)?.unanswered ?? 0) + 1, promised: 0 })
  }
  for (const [id, promised] of plan.promised) {
    const bell = bells.get(id)
    if (bell !== undefined) bells.set(id, { ...bell, promised })
  }
  for (const id of plan.giveUp) bells.delete(id)
  return { ring: plan.ring, giveUp: plan.giveUp, checkAt: plan.checkAt }
}

describe('when runs wait', () => {
  test('as many runners are rung as it takes to take them all', () => {
    const one = connect('one', 2)
    const two = connect('two', 2)
    connect('three', 2)
    for (let i = 0; i < 4; i++) pool.enqueue(`run_${i}`)
    expect(ring().ring).toEqual([one.id, two.id])
  })

  test('nobody is rung twice for the same run while there is time to answer', () => {
    const one = connect('one', 1)
    pool.enqueue('run_1')
    expect(ring().ring).toEqual([one.id])
    pool.pass(RING_ANSWER_MS - 1)
    expect(ring().ring).toEqual([])
  })

  test('a ring that no sync follows passes to the next runner', () => {
    const one = connect('one', 1)
    const two = connect('two', 1)
    pool.enqueue('run_1')
    expect(ring()).toMatchObject({ ring: [one.id], checkAt: pool.now + RING_ANSWER_MS })
    pool.pass(RING_ANSWER_MS)
    expect(ring().ring).toEqual([two.id])
  })

  test('a socket that swallowed its rings is given up', () => {
    const one = connect('one', 1)
    pool.enqueue('run_1')
    for (let i = 0; i < RING_GIVE_UP; i++) {
      expect(ring().ring).toEqual([one.id])
      pool.pass(RING_ANSWER_MS)
    }
    expect(ring()).toEqual({ ring: [], giveUp: [one.id], checkAt: null })
  })

  test('a runner that cannot take them is left alone: full, draining, without the label', () => {
    const full = connect('full', 1)
    pool.enqueue('run_0')
    full.sync([running(full.take())])
    const draining = connect('draining', 1)
    pool.decide(ctx => setRunnerState(ctx, draining.id, 'draining', null))
    connect('elsewhere', 1, { zone: 'a' })
    pool.enqueue('run_1', { labels: { zone: 'b' } })
    expect(ring()).toEqual({ ring: [], giveUp: [], checkAt: null })
  })

  test('after a hibernation a full runner is recognised by its leases', () => {
    const full = connect('full', 1)
    pool.enqueue('run_0')
    full.sync([running(full.take())])
    pool.evict()
    pool.enqueue('run_1')
    expect(ring().ring).toEqual([])
  })
})

describe('when a run begins to wait', () => {
  const one: readonly Need[] = [{ demand: { labels: {}, memoryMb: 0, forbidden: [], pauses: [] }, count: 1 }]

  test('those rung before are counted on for what they were rung for, and others are rung for the rest', () => {
    const two = connect('two', 2)
    const more = connect('more', 2)
    expect(ring('new', one).ring).toEqual([two.id])
    expect(ring('new', one).ring).toEqual([])
    expect(ring('new', one).ring).toEqual([more.id])
    two.sync()
    bells.set(two.id, { rungAt: null, unanswered: 0, promised: 0 })
    expect(ring('new', [...one, ...one]).ring).toEqual([two.id])
  })
})

describe('when a run comes back', () => {
  function comeBack() {
    const had = connect('had', 1)
    pool.enqueue('run_1')
    had.sync([exited(had.take(), null, 'pull_failed')])
    return had
  }

  function seekingAfterSweep() {
    return pool.decide(ctx => {
      sweep(ctx, 0)
      return ctx.effects.seeking
    })
  }

  test('the runner that had it is not rung for it, but any other is', () => {
    comeBack()
    expect(ring()).toEqual({ ring: [], giveUp: [], checkAt: null })
    const other = new TestRunner(pool, 'other')
    bells.set(other.id, { rungAt: null, unanswered: 0, promised: 0 })
    expect(ring().ring).toEqual([other.id])
  })

  test('the runner that had it is rung at the end of its pause, and the alarm comes for that', () => {
    const had = comeBack()
    expect(pool.sweep()).toBe(pool.now + 10_000)
    pool.pass(10_000)
    const needs = seekingAfterSweep().map(demand => ({ demand, count: 1 }))
    expect(ring('new', needs).ring).toEqual([had.id])
    expect(had.sync().offers).toHaveLength(1)
  })

  test('and has gone again at the end of the pause, nobody is rung', () => {
    comeBack()
    new TestRunner(pool, 'other').take()
    pool.pass(10_000)
    expect(seekingAfterSweep()).toEqual([])
  })
})

describe('of runners that the object has not heard of since it woke', () => {
  test('a plan looks at a few, and the next plan follows at once until all are known', () => {
    for (let i = 0; i < 3 * LOOKS_PER_PLAN; i++) connect(`other-${i}`, 1)
    const last = connect('last', 1, { zone: 'a' })
    pool.evict()
    pool.enqueue('run_1', { labels: { zone: 'a' } })
    for (let plans = 0; plans < 3; plans++) {
      expect(ring()).toEqual({ ring: [], giveUp: [], checkAt: pool.now })
      expect(pool.capacities.size).toBe((plans + 1) * LOOKS_PER_PLAN)
    }
    expect(ring()).toEqual({ ring: [last.id], giveUp: [], checkAt: pool.now + RING_ANSWER_MS })
  })

  test('none is looked at twice, also for a run that nobody can take', () => {
    for (let i = 0; i < LOOKS_PER_PLAN; i++) connect(`other-${i}`, 1)
    pool.evict()
    pool.enqueue('run_1', { labels: { zone: 'nowhere' } })
    expect(ring().checkAt).toBeNull()
    const exec = vi.spyOn(pool.sql, 'exec')
    expect(
      ring(
        'new',
        pool.decide(ctx => needsOf(ctx, ctx.store.queue.lanes())),
      ).checkAt,
    ).toBeNull()
    expect(exec.mock.calls.filter(([query]) => /FROM (runners|leases)/.test(query))).toEqual([])
  })

  test('one that was drained and resumed is looked at anew', () => {
    const runner = connect('one', 1)
    pool.decide(ctx => setRunnerState(ctx, runner.id, 'draining', null))
    pool.enqueue('run_1')
    expect(ring().ring).toEqual([])
    pool.decide(ctx => setRunnerState(ctx, runner.id, 'active', null))
    expect(ring().ring).toEqual([runner.id])
  })
})

test('when nothing waits, nobody is rung', () => {
  connect('one', 1)
  expect(ring()).toEqual({ ring: [], giveUp: [], checkAt: null })
})
