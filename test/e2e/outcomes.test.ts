import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Run } from '../../protocol/run.ts'
import { ControlPlane, type Tenant } from '../support/control-plane.ts'
import { HAS_ENGINE, noContainersLeft, nodeImage, sessionContainers } from '../support/engine.ts'
import { JOBS } from '../support/jobs.ts'
import { type Registry, startRegistry } from '../support/registry.ts'
import { Daemon } from '../support/runner.ts'
import { until } from '../support/until.ts'

/** Every way a run can end, on a real Engine. */
describe.skipIf(!HAS_ENGINE)('a run on a real Engine', () => {
  const controlPlane = new ControlPlane()
  let tenant: Tenant
  let daemon: Daemon
  let registry: Registry
  let image: string
  let runnerId: string

  beforeAll(async () => {
    image = await nodeImage()
    registry = await startRegistry()
    await controlPlane.start()
    tenant = await controlPlane.tenant()
    daemon = await Daemon.of(controlPlane, tenant, { name: 'outcomes' })
    await daemon.online(tenant)
    runnerId = (await tenant.runners())[0]?.id ?? ''
  })
  afterAll(async () => {
    await daemon.end('SIGTERM')
    await controlPlane.stop()
    await registry.close()
  })

  function outcome(run: Run) {
    return {
      status: run.status,
      exit_code: run.exit_code,
      code: run.failure?.code ?? null,
      domain: run.failure?.domain ?? null,
    }
  }

  test.each([
    { name: 'exits with 0', body: { command: JOBS.succeed }, ends: ['succeeded', 0, null, null] },
    {
      name: 'exits with 7',
      body: { command: JOBS.exitWith(7) },
      ends: ['failed', 7, 'non_zero_exit', 'test'],
    },
    {
      name: 'has no such command',
      body: { command: JOBS.missingCommand },
      ends: ['failed', 127, 'command_not_found', 'test'],
    },
    {
      name: 'runs longer than its timeout',
      body: { command: JOBS.sleepMs(600_000), timeout_seconds: 2 },
      ends: ['timed_out', 143, 'timeout', 'test'],
    },
    {
      name: 'runs longer than its timeout and ignores SIGTERM',
      body: { command: JOBS.ignoreSigterm, timeout_seconds: 2 },
      ends: ['timed_out', 137, 'timeout', 'test'],
    },
    {
      name: 'needs more memory than it has',
      body: { command: JOBS.eatMemory, resources: { memory_mb: 128 } },
      ends: ['failed', 137, 'oom', 'test'],
    },
  ])('that $name ends as it should', async ({ body, ends }) => {
    const [status, exit_code, code, domain] = ends
    const run = await tenant.ends((await tenant.run({ image, ...body })).id)
    expect(outcome(run), run.failure?.message).toEqual({ status, exit_code, code, domain })
    expect(run.runner_id).toBe(runnerId)
  })

  test.each([
    { repository: 'missing' as const, code: 'image_not_found' },
    { repository: 'private' as const, code: 'image_auth' },
  ])('whose image is $repository fails with $code', async ({ repository, code }) => {
    const run = await tenant.ends((await tenant.run({ image: registry.image(repository) })).id)
    expect(outcome(run)).toEqual({ status: 'failed', exit_code: null, code, domain: 'agent_image' })
    expect(run.attempt).toBe(1)
  })

  test('that no runner can take is cancelled in the same reply', async () => {
    const queued = await tenant.run({ image, command: JOBS.succeed, labels: { nobody: 'has this' } })
    expect(queued.status).toBe('queued')
    expect((await tenant.cancel(queued.id)).status).toBe('cancelled')
  })

  test('is cancelled while its image is pulled', async () => {
    const { id } = await tenant.run({ image: registry.image('slow') })
    await until('the pull has begun', () => registry.slowRequests() > 0)
    await tenant.reaches(id, 'starting')
    await tenant.cancel(id)
    expect((await tenant.ends(id)).status).toBe('cancelled')
  })

  test('is cancelled at once, wherever it stands', async () => {
    const { id } = await tenant.run({ image, command: JOBS.sleepMs(600_000) })
    await tenant.cancel(id)
    expect((await tenant.ends(id)).status).toBe('cancelled')
  })

  test('is cancelled while it runs, and stops', async () => {
    const { id } = await tenant.run({ image, command: JOBS.sleepMs(600_000) })
    expect((await tenant.reaches(id, 'running')).status).toBe('running')
    await tenant.cancel(id)
    const run = await tenant.ends(id)
    expect([run.status, run.exit_code]).toEqual(['cancelled', 143])
  })

  test('is cancelled while it runs although it ignores SIGTERM', async () => {
    const { id } = await tenant.run({ image, command: JOBS.ignoreSigterm })
    await tenant.reaches(id, 'running')
    await tenant.cancel(id)
    const run = await tenant.ends(id)
    expect([run.status, run.exit_code]).toEqual(['cancelled', 137])
  })

  test('leaves no container and no busy slot behind', async () => {
    await noContainersLeft([runnerId])
    await until('every slot is free', async () => (await tenant.pool()).stats.slots_busy === 0)
    expect((await tenant.pool()).stats).toMatchObject({ slots_total: 2, slots_busy: 0, queued: 0 })
    expect(await sessionContainers([runnerId])).toEqual([])
  })
})
