import { describe, expect, test, vi } from 'vitest'
import { abortAll, exited, hashOf, pass, running, TestPool, TestRunner, value } from './world.ts'

/** The doorbell carries no state: it may be lost at any moment, and costs an idle pool nothing. */

/** A pool with runners that have synced and hold a doorbell each. */
async function poolWithDoorbells(count: number) {
  const pool = await TestPool.create()
  const runners = []
  for (let i = 0; i < count; i++) {
    const runner = await TestRunner.register(pool)
    await runner.sync()
    runners.push({ runner, doorbell: await runner.doorbell() })
  }
  return { pool, runners }
}

async function one() {
  const { pool, runners } = await poolWithDoorbells(1)
  const [first] = runners
  if (first === undefined) throw new Error('one runner was expected')
  return { pool, ...first }
}

describe('a doorbell', () => {
  test('is refused without the credential of a runner of the pool', async () => {
    const pool = await TestPool.create()
    const runner = await TestRunner.register(pool)
    const response = await runner.dial(hashOf('another'))
    expect(response.status).toBe(401)
    expect(response.webSocket).toBeNull()
    await response.text()
  })

  test('answers ping with pong without waking the object', async () => {
    const { pool, doorbell } = await one()
    await pool.evict()
    expect(await doorbell.rings()).toBe(0)
    // Only an object that runs can be evicted; this one still sleeps.
    await expect(pool.evict()).rejects.toThrow()
  })

  test('makes the idle interval sixty times as long, for as long as it is open, also after a hibernation', async () => {
    const pool = await TestPool.create()
    const runner = await TestRunner.register(pool)
    expect((await runner.sync()).next_sync_in_ms).toBe(5_000)
    await runner.doorbell()
    expect((await runner.sync()).next_sync_in_ms).toBe(300_000)
    await pool.evict()
    expect((await runner.sync()).next_sync_in_ms).toBe(300_000)
    await pool.enqueue()
    const session = await runner.offered()
    expect((await runner.sync([running(session)])).next_sync_in_ms).toBe(11_250)
    await runner.sync([exited(session)])
    await abortAll()
    expect((await runner.sync()).next_sync_in_ms).toBe(5_000)
  })

  test('that cannot be rung does not make a failure of what is stored, nor is the run forgotten', async () => {
    const { pool, runner, doorbell } = await one()
    const error = vi.spyOn(console, 'error').mockImplementation(() => {})
    const send = vi.spyOn(WebSocket.prototype, 'send').mockImplementation(() => {
      throw new TypeError('the socket is broken')
    })
    expect((await pool.enqueue()).status).toBe('queued')
    expect(send).toHaveBeenCalledWith('ring')
    expect(error.mock.calls.flat().join()).toContain('"event":"pool_news_not_spread"')
    send.mockRestore()
    pass(2_000)
    await pool.alarm()
    expect(await doorbell.next()).toBe('ring')
    expect((await runner.sync()).offers).toHaveLength(1)
  })

  test.for(['awake', 'evicted'])(
    'rings when a run comes, when one is cancelled and when work resumes; object %s',
    async how => {
      const { pool, runner, doorbell } = await one()
      const sleep = async () => {
        if (how === 'evicted') await pool.evict()
      }
      await sleep()
      const { id } = await pool.enqueue()
      expect(await doorbell.next()).toBe('ring')
      const session = await runner.offered()
      await runner.sync([running(session)])
      await sleep()
      value(await pool.rpc.cancelRun(id))
      expect(await doorbell.next()).toBe('ring')
      await runner.sync([exited(session)])

      value(await pool.rpc.setState('draining', null))
      await pool.enqueue()
      expect(await doorbell.rings()).toBe(0)
      await sleep()
      value(await pool.rpc.setState('active', null))
      expect(await doorbell.next()).toBe('ring')

      value(await pool.rpc.setRunnerState(runner.id, 'draining', null))
      await runner.sync()
      await sleep()
      value(await pool.rpc.setRunnerState(runner.id, 'active', null))
      expect(await doorbell.next()).toBe('ring')
      expect((await runner.sync()).offers).toHaveLength(1)
      expect(await doorbell.rings()).toBe(0)
    },
  )

  test('is not rung for a run its runner cannot take, nor while the runner is full', async () => {
    const { pool, runner, doorbell } = await one()
    await pool.enqueue({ labels: { zone: 'elsewhere' } })
    expect(await doorbell.rings()).toBe(0)
    await pool.enqueue()
    await pool.enqueue()
    const { offers } = await runner.sync()
    await runner.sync(offers.map(offer => running(offer.session_id)))
    await doorbell.rings()
    await pool.enqueue()
    await pool.evict()
    await pool.enqueue()
    expect(await doorbell.rings()).toBe(0)
  })

  test('is replaced by a second one of its runner, which alone is rung from then on', async () => {
    const { pool, runner, doorbell } = await one()
    const second = await runner.doorbell()
    expect(await doorbell.closed).toBe(4409)
    await pool.evict()
    const third = await runner.doorbell()
    expect(await second.closed).toBe(4409)
    await pool.enqueue()
    expect(await third.rings()).toBe(1)
  })

  test.for(['awake', 'evicted'])(
    'that is cut leaves its runner 75 s from its last pong to sync, not three of its long intervals; object %s',
    async state => {
      const { pool, runner, doorbell } = await one()
      expect((await runner.sync()).next_sync_in_ms).toBe(300_000)
      if (state === 'evicted') await pool.evict()
      const statusOf = async () => value(await pool.rpc.getRunner(runner.id)).status
      doorbell.cut()
      await doorbell.closed
      pass(74_000)
      expect(await statusOf()).toBe('online')
      pass(1_000)
      expect(await statusOf()).toBe('offline')
      await runner.sync()
      expect(await statusOf()).toBe('online')
    },
  )

  test.for(['removed', 'deregistered', 'replaced by a registration'])(
    'is closed when its runner is %s',
    async how => {
      const pool = await TestPool.create()
      const runner = await TestRunner.register(pool, { name: 'one' })
      const doorbell = await runner.doorbell()
      await pool.evict()
      if (how === 'removed') value(await pool.rpc.removeRunner(runner.id, false))
      else if (how === 'deregistered') value(await pool.rpc.deregister(runner.id, runner.hash))
      else {
        await runner.sync([], { leaving: true })
        await TestRunner.register(pool, { name: 'one', credential_hash: hashOf('newcomer') })
      }
      expect(await doorbell.closed).toBe(4401)
      await pool.enqueue()
    },
  )
})

describe('a ring', () => {
  test('that no sync follows within 2 s is passed on to the next runner', async () => {
    const { pool, runners } = await poolWithDoorbells(3)
    await pool.enqueue()
    const rung = async () => await Promise.all(runners.map(({ doorbell }) => doorbell.rings()))
    expect((await rung()).toSorted()).toEqual([0, 0, 1])
    expect(await pool.alarmAt()).toBeLessThanOrEqual(Date.now() + 2_000)
    const counts = [0, 0, 0]
    for (let turn = 0; turn < 2; turn++) {
      await pool.passWithAlarms(2_000)
      for (const [i, rings] of (await rung()).entries()) counts[i] = (counts[i] ?? 0) + rings
    }
    expect(counts.toSorted()).toEqual([0, 1, 1])
  })

  test('goes to as many runners as it takes to serve all that waits, and to no more', async () => {
    const { pool, runners } = await poolWithDoorbells(3)
    for (let i = 0; i < 3; i++) await pool.enqueue()
    const rings = await Promise.all(runners.map(({ doorbell }) => doorbell.rings()))
    expect(rings.toSorted()).toEqual([0, 1, 1])
  })

  test.for(['awake', 'evicted'])(
    'calls the only runner back when the run it failed may be tried there again; object %s',
    async how => {
      const { pool, runner, doorbell } = await one()
      await pool.enqueue()
      const session = await runner.offered()
      await runner.sync([{ ...exited(session), exit: { code: null, reason: 'pull_failed' } }])
      await doorbell.rings()
      if (how === 'evicted') await pool.evict()
      await pool.passWithAlarms(9_999)
      expect(await doorbell.rings()).toBe(0)
      await pool.passWithAlarms(1)
      expect(await doorbell.rings()).toBe(1)
      expect((await runner.sync()).offers).toMatchObject([{ attempt: 2 }])
    },
  )

  test('goes to another runner at once when a run comes back', async () => {
    const { pool, runners } = await poolWithDoorbells(2)
    await pool.enqueue()
    const [first, second] = runners
    const session = (await first?.runner.offered()) ?? ''
    await pool.passWithAlarms(3_000)
    await Promise.all(runners.map(({ doorbell }) => doorbell.rings()))
    await first?.runner.sync([{ ...exited(session), exit: { code: null, reason: 'pull_failed' } }])
    expect(await first?.doorbell.rings()).toBe(0)
    expect(await second?.doorbell.rings()).toBe(1)
  })

  test('that a sync answered is not repeated', async () => {
    const { pool, runner, doorbell } = await one()
    await pool.enqueue()
    expect(await doorbell.rings()).toBe(1)
    await runner.sync([running(await runner.offered())])
    await pool.passWithAlarms(30_000)
    expect(await doorbell.rings()).toBe(0)
  })

  test('is given up after three that nothing answered, and an answering runner is not', async () => {
    const { pool, runner, doorbell } = await one()
    await pool.enqueue()
    await pool.passWithAlarms(5_999)
    expect(await doorbell.rings()).toBe(3)
    await pool.passWithAlarms(1)
    expect(await pool.openSockets()).toBe(0)
    expect(await doorbell.closed).toBe(1011)
    // The runner lives after all: it dials again, syncs, and has the run.
    const again = await runner.doorbell()
    expect((await runner.sync()).offers).toHaveLength(1)
    expect(await again.rings()).toBe(0)
  })
})
