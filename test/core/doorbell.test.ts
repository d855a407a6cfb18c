import { beforeEach, describe, expect, test } from 'vitest'
import {
  type Bell,
  planRings,
  RING_ANSWER_MS,
  RING_GIVE_UP,
} from '../../durable-objects/runner-pool/core/doorbell.ts'
import { setRunnerState } from '../../durable-objects/runner-pool/core/runners.ts'
import { running, TestPool, TestRunner } from './pool-fixture.ts'

let pool: TestPool
let bells: Map<string, Bell>
beforeEach(() => {
  pool = new TestPool()
  bells = new Map()
})

function connect(name: string, slots: number, labels: Record<string, string> = {}): TestRunner {
  const runner = new TestRunner(pool, name, { max_concurrency: slots, labels })
  runner.sync()
  bells.set(runner.id, { rungAt: null, unanswered: 0 })
  return runner
}

/** Plans, and rings whom the plan says, as the object does. */
function ring() {
  const plan = pool.decide(ctx => planRings(ctx, bells, ctx.store.queue.lanes()))
  for (const id of plan.ring) {
    bells.set(id, { rungAt: pool.now, unanswered: (bells.get(id)?.unanswered ?? 0) + 1 })
  }
  for (const id of plan.giveUp) bells.delete(id)
  return plan
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

test('when nothing waits, nobody is rung', () => {
  connect('one', 1)
  expect(ring()).toEqual({ ring: [], giveUp: [], checkAt: null })
})
