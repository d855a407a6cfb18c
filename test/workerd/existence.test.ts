import { describe, expect, test } from 'vitest'
import type { RunnerPoolRpc } from '../../durable-objects/runner-pool/rpc.ts'
import type { Result } from '../../protocol/errors.ts'
import {
  exited,
  hashOf,
  newRegistration,
  newRun,
  outcome,
  pass,
  running,
  TestPool,
  TestRunner,
  value,
} from './world.ts'

/** Every call there is but the one that creates; a new one does not compile until it is here. */
const CALLS: Record<
  Exclude<keyof RunnerPoolRpc, 'initialise'>,
  (rpc: RunnerPoolRpc) => Promise<Result<unknown>>
> = {
  previewDestroy: rpc => rpc.previewDestroy(),
  destroy: rpc => rpc.destroy(),
  summary: rpc => rpc.summary(),
  setState: rpc => rpc.setState('draining', 'maintenance'),
  enqueue: rpc => rpc.enqueue(newRun()),
  getRun: rpc => rpc.getRun('run_1'),
  cancelRun: rpc => rpc.cancelRun('run_1'),
  placement: rpc => rpc.placement('run_1'),
  watchableSession: rpc => rpc.watchableSession('run_1'),
  streamChanged: rpc =>
    rpc.streamChanged('run_1', 'ses_1', { viewers: 1, publisher: false, state: 'connecting' }),
  sessionGrant: rpc => rpc.sessionGrant('rnr_1', hashOf('one'), 'ses_1', 'publish'),
  noteLogCut: rpc => rpc.noteLogCut('rnr_1', hashOf('one'), 'ses_1'),
  previewRegistration: rpc => rpc.previewRegistration(newRegistration()),
  register: rpc => rpc.register(newRegistration()),
  authenticateRunner: rpc => rpc.authenticateRunner('rnr_1', hashOf('one')),
  sync: rpc =>
    rpc.sync('rnr_1', hashOf('one'), {
      protocol: 1,
      boot: 1,
      boot_id: 'boot-boot',
      seq: 1,
      draining: false,
      inventory: 'complete',
      slots: { max: 1 },
      leases: [],
      acks: [],
    }),
  rotateCredential: rpc => rpc.rotateCredential('rnr_1', hashOf('one'), hashOf('two')),
  deregister: rpc => rpc.deregister('rnr_1', hashOf('one')),
  listRunners: rpc => rpc.listRunners(10, null),
  getRunner: rpc => rpc.getRunner('rnr_1'),
  setRunnerState: rpc => rpc.setRunnerState('rnr_1', 'draining', null),
  removeRunner: rpc => rpc.removeRunner('rnr_1', true),
  runnersOnlineByToken: rpc => rpc.runnersOnlineByToken(),
  history: rpc => rpc.history({ since: 0, step_ms: 60_000 }),
  overview: rpc => rpc.overview({ since: 0, step_ms: 60_000 }),
}

async function expectNothingThere(pool: TestPool): Promise<void> {
  for (const [name, call] of Object.entries(CALLS)) {
    expect(outcome(await call(pool.rpc)), name).toBe('not_found')
  }
  const request = new Request('https://pool.internal/doorbell', { headers: { upgrade: 'websocket' } })
  const response = await pool.rpc.fetch(request)
  expect(response.status).toBe(404)
  await response.text()
  expect(await pool.alarm()).toBe(false)
  expect(await pool.rows('SELECT name FROM sqlite_master')).toEqual([])
  expect(await pool.alarmAt()).toBeNull()
}

describe('a pool that was never initialised', () => {
  test('answers not_found to every call and leaves no table and no alarm', async () => {
    const pool = new TestPool()
    await expectNothingThere(pool)
    await pool.evict()
    await expectNothingThere(pool)
  })
})

describe('initialising a pool', () => {
  test('again changes nothing', async () => {
    const pool = await TestPool.create()
    value(await pool.rpc.setState('draining', 'maintenance'))
    const { id } = await pool.enqueue()
    await pool.rpc.initialise(pool.identity)
    await pool.evict()
    await pool.rpc.initialise(pool.identity)
    expect(value(await pool.rpc.summary())).toMatchObject({ state: 'draining', note: 'maintenance' })
    expect((await pool.run(id)).status).toBe('queued')
  })
})

describe('destroying a pool', () => {
  test('wipes everything, hangs up, and from then on nothing is there', async () => {
    const pool = await TestPool.create()
    const runner = await TestRunner.register(pool)
    const { id } = await pool.enqueue()
    await runner.sync([exited(await runner.offered())])
    const doorbell = await runner.doorbell()
    await runner.sync([], { leaving: true })
    const run = await pool.run(id)
    expect(outcome(await pool.rpc.destroy())).toBe('ok')
    expect(await doorbell.closed).toBe(4401)
    await expectNothingThere(pool)
    expect(await pool.projectedRun(id)).toEqual(run)
    await pool.evict()
    await expectNothingThere(pool)
  })

  test('is refused while a runner is online, a run waits or a session is live', async () => {
    const pool = await TestPool.create()
    const runner = await TestRunner.register(pool)
    expect(outcome(await pool.rpc.destroy())).toBe('pool_not_empty')
    const { id } = await pool.enqueue()
    const session = await runner.offered()
    await runner.sync([running(session)], { leaving: true })
    expect(outcome(await pool.rpc.destroy())).toBe('pool_not_empty')
    value(await pool.rpc.removeRunner(runner.id, true))
    expect((await pool.run(id)).status).toBe('queued')
    expect(outcome(await pool.rpc.destroy())).toBe('pool_not_empty')
    value(await pool.rpc.cancelRun(id))
    expect(outcome(await pool.rpc.destroy())).toBe('ok')
    await expectNothingThere(pool)
  })

  test('never loses a run that was acknowledged while it waited for D1', async () => {
    const outcomes = new Set<string>()
    for (let i = 0; i < 10; i++) {
      const pool = await TestPool.create()
      const { id } = await pool.enqueue()
      value(await pool.rpc.cancelRun(id))
      const [destroyed, enqueued] = await Promise.all([pool.rpc.destroy(), pool.rpc.enqueue(newRun())])
      outcomes.add(`${outcome(destroyed)} ${outcome(enqueued)}`)
      if (enqueued.ok) expect((await pool.run(enqueued.value.run.id)).status).toBe('queued')
      else await expectNothingThere(pool)
    }
    // Both won is what must never be.
    expect(['pool_not_empty ok', 'ok not_found']).toEqual(expect.arrayContaining([...outcomes]))
  })

  test('leaves nothing behind when an alarm was under way', async () => {
    const pool = await TestPool.create()
    const { id } = await pool.enqueue()
    value(await pool.rpc.cancelRun(id))
    pass(1_000)
    const [, destroyed] = await Promise.all([pool.alarm(), pool.rpc.destroy()])
    expect(outcome(destroyed)).toBe('ok')
    await expectNothingThere(pool)
  })

  test('leaves the id free to be initialised, with an alarm of its own', async () => {
    const pool = await TestPool.create()
    const { id } = await pool.enqueue()
    value(await pool.rpc.cancelRun(id))
    expect(outcome(await pool.rpc.destroy())).toBe('ok')
    await pool.rpc.initialise(pool.identity)
    pass(60_000)
    await pool.enqueue()
    expect(await pool.alarmAt()).toBe(Date.now() + 1_000)
  })
})
