import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { ControlPlane, type Tenant } from '../support/control-plane.ts'
import { HAS_ENGINE, noContainersLeft, nodeImage, sessionContainers, watchStarts } from '../support/engine.ts'
import { JOBS, node } from '../support/jobs.ts'
import { Daemon } from '../support/runner.ts'
import { until } from '../support/until.ts'

const anything = z.unknown()

describe.skipIf(!HAS_ENGINE)('two runners with two slots each', () => {
  const controlPlane = new ControlPlane()
  let tenant: Tenant
  let daemons: Daemon[]
  let runnerIds: string[]
  let image: string

  beforeAll(async () => {
    image = await nodeImage()
    await controlPlane.start()
    tenant = await controlPlane.tenant()
    daemons = [
      await Daemon.of(controlPlane, tenant, { name: 'east' }),
      await Daemon.of(controlPlane, tenant, { name: 'west' }),
    ]
    await Promise.all(daemons.map(daemon => daemon.online(tenant)))
    runnerIds = (await tenant.runners()).map(runner => runner.id)
  })
  afterAll(async () => {
    await Promise.all(daemons.map(daemon => daemon.end('SIGTERM')))
    await controlPlane.stop()
  })

  test('end 20 runs with their true results, never hold more than four, and leave nothing', async () => {
    const kinds = [
      { command: JOBS.succeed, status: 'succeeded', exit_code: 0, code: undefined },
      {
        command: node('setTimeout(() => process.exit(3), 300)'),
        status: 'failed',
        exit_code: 3,
        code: 'non_zero_exit',
      },
      { command: JOBS.missingCommand, status: 'failed', exit_code: 127, code: 'command_not_found' },
      { command: JOBS.sleepMs(500), status: 'succeeded', exit_code: 0, code: undefined },
    ]
    const wanted = Array.from({ length: 20 }, (_, index) => kinds[index % kinds.length] ?? kinds[0])
    const watch = await watchStarts()
    const created = await Promise.all(wanted.map(kind => tenant.run({ image, command: kind?.command })))

    let most = 0
    await until('all 20 runs have ended', async () => {
      const alive = (await sessionContainers(runnerIds)).filter(one => one.state === 'running').length
      const { stats } = await tenant.pool()
      most = Math.max(most, alive, stats.slots_busy)
      expect(stats.slots_busy).toBeLessThanOrEqual(4)
      return stats.queued === 0 && stats.slots_busy === 0
    })

    const runs = await Promise.all(created.map(run => tenant.ends(run.id)))
    expect(
      runs.map(run => ({ status: run.status, exit_code: run.exit_code, code: run.failure?.code })),
    ).toEqual(wanted.map(kind => ({ status: kind?.status, exit_code: kind?.exit_code, code: kind?.code })))
    expect(runs.filter(run => run.failure !== null).every(run => run.failure?.domain === 'test')).toBe(true)
    expect(most).toBeLessThanOrEqual(4)
    expect(new Set(runs.map(run => run.runner_id))).toEqual(new Set(runnerIds))
    await noContainersLeft(runnerIds)
    watch.stop()
    expect([...watch.starts.values()].every(starts => starts === 1)).toBe(true)
    expect((await tenant.pool()).stats).toMatchObject({ runners_online: 2, slots_total: 4, slots_busy: 0 })
  })

  test('are given nothing while the pool drains, finish what they run, and are given work after resume', async () => {
    const before = await tenant.run({ image, command: JOBS.sleepMs(2000) })
    await tenant.reaches(before.id, 'running')
    await tenant.api.post(`/pools/${tenant.poolId}/drain`, { note: 'maintenance' }, anything)
    const during = await tenant.run({ image, command: JOBS.succeed })
    expect((await tenant.ends(before.id)).status).toBe('succeeded')
    // The runners have synced since: they reported the end of the first run.
    expect((await tenant.get(during.id)).status).toBe('queued')
    await tenant.api.post(`/pools/${tenant.poolId}/resume`, {}, anything)
    expect((await tenant.ends(during.id)).status).toBe('succeeded')
  })

  test('a drained runner finishes its session and takes no other; its neighbour does', async () => {
    const [first, second] = await tenant.runners()
    if (first === undefined || second === undefined) throw new Error('two runners expected')
    const running = await tenant.run({ image, command: JOBS.sleepMs(3000) })
    const holder = (await tenant.reaches(running.id, 'running')).runner_id
    const other = holder === first.id ? second.id : first.id
    await tenant.api.post(`/pools/${tenant.poolId}/runners/${holder}/drain`, {}, anything)
    const later = await Promise.all([1, 2, 3].map(() => tenant.run({ image, command: JOBS.succeed })))
    for (const { id } of later) expect((await tenant.ends(id)).runner_id).toBe(other)
    expect((await tenant.ends(running.id)).status).toBe('succeeded')
    await tenant.api.post(`/pools/${tenant.poolId}/runners/${holder}/resume`, {}, anything)
    await until('both are online again', async () => (await tenant.pool()).stats.runners_online === 2)
  })
})
