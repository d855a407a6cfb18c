import { cpSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ControlPlane, type Tenant } from '../support/control-plane.ts'
import { HAS_ENGINE, noContainersLeft, nodeImage, sessionContainers, watchStarts } from '../support/engine.ts'
import { newFolder } from '../support/folders.ts'
import { JOBS, node } from '../support/jobs.ts'
import { Daemon } from '../support/runner.ts'
import { until } from '../support/until.ts'

/** What is lost when a process is killed: nothing. Each test has a tenant and a runner of its own. */
describe.skipIf(!HAS_ENGINE)('after a kill -9', () => {
  const controlPlane = new ControlPlane()
  let image: string
  let watch: Awaited<ReturnType<typeof watchStarts>>

  beforeAll(async () => {
    image = await nodeImage()
    watch = await watchStarts()
    await controlPlane.start()
  })
  afterAll(async () => {
    watch.stop()
    await controlPlane.stop()
  })

  async function fleet(name: string, env: Record<string, string> = {}) {
    const tenant = await controlPlane.tenant()
    const daemon = await Daemon.of(controlPlane, tenant, { name, env })
    await daemon.online(tenant)
    const runnerIds = (await tenant.runners()).map(runner => runner.id)
    return { tenant, daemon, runnerIds }
  }

  async function atRest(tenant: Tenant, runnerIds: readonly string[]): Promise<void> {
    await noContainersLeft(runnerIds)
    await until('every slot is free', async () => (await tenant.pool()).stats.slots_busy === 0)
    for (const [sessionId, starts] of watch.starts) expect(starts, sessionId).toBe(1)
  }

  // From before the offer is stored to after the exit is reported: a session of this job lives about 600 ms.
  test.each([0, 40, 80, 120, 160, 220, 300, 400, 550, 700])(
    'of the daemon %i ms after a run was created, the run ends once and truly',
    async delay => {
      const { tenant, daemon, runnerIds } = await fleet(`kill-${delay}`)
      const { id } = await tenant.run({ image, command: node('setTimeout(() => process.exit(5), 200)') })
      await sleep(delay)
      await daemon.end('SIGKILL')
      await daemon.online(tenant)
      const run = await tenant.ends(id)
      expect([run.status, run.exit_code, run.failure?.code]).toEqual(['failed', 5, 'non_zero_exit'])
      await atRest(tenant, runnerIds)
      await daemon.end('SIGTERM')
    },
  )

  test('of the daemon, a session that goes on is adopted by the next one', async () => {
    const { tenant, daemon, runnerIds } = await fleet('adopts')
    const { id } = await tenant.run({ image, command: node('setTimeout(() => process.exit(6), 4000)') })
    const running = await tenant.reaches(id, 'running')
    await daemon.end('SIGKILL')
    await daemon.online(tenant)
    const run = await tenant.ends(id)
    expect([run.status, run.exit_code, run.session_id]).toEqual(['failed', 6, running.session_id])
    expect(run.attempt).toBe(1)
    await atRest(tenant, runnerIds)
    await daemon.end('SIGTERM')
  })

  test('of the control plane, on the same state no run is lost and none is stuck', async () => {
    const { tenant, daemon, runnerIds } = await fleet('survives')
    const during = await tenant.run({ image, command: node('setTimeout(() => process.exit(4), 3000)') })
    await tenant.reaches(during.id, 'running')
    const queued = await Promise.all(
      Array.from({ length: 4 }, () => tenant.run({ image, command: JOBS.exitWith(2) })),
    )
    await controlPlane.kill()
    await controlPlane.start()
    expect((await tenant.ends(during.id)).exit_code).toBe(4)
    for (const { id } of queued) expect((await tenant.ends(id)).exit_code).toBe(2)
    await atRest(tenant, runnerIds)
    await daemon.end('SIGTERM')
  })

  test('of the control plane while runs are being created, every acknowledged one reaches its end', async () => {
    const { tenant, daemon, runnerIds } = await fleet('acknowledged')
    const acknowledged: string[] = []
    const creating = (async () => {
      for (let count = 0; count < 30; count++) {
        const run = await tenant.run({ image, command: JOBS.succeed }).catch(() => null)
        if (run === null) return
        acknowledged.push(run.id)
      }
    })()
    await until('some runs are acknowledged', () => acknowledged.length >= 5)
    await controlPlane.kill()
    await creating
    await controlPlane.start()
    for (const id of acknowledged) expect((await tenant.ends(id)).status).toBe('succeeded')
    await atRest(tenant, runnerIds)
    await daemon.end('SIGTERM')
  })
})

describe.skipIf(!HAS_ENGINE)('a runner', () => {
  const controlPlane = new ControlPlane()
  let image: string

  beforeAll(async () => {
    image = await nodeImage()
    await controlPlane.start()
  })
  afterAll(async () => {
    await controlPlane.stop()
  })

  test('stopped by a signal past the lease loses its session; what it says later changes nothing', async () => {
    const tenant = await controlPlane.tenant()
    const sleeper = await Daemon.of(controlPlane, tenant, { name: 'sleeper' })
    await sleeper.online(tenant)
    const { id } = await tenant.run({ image, command: node('setTimeout(() => process.exit(9), 25000)') })
    const first = await tenant.reaches(id, 'running')
    sleeper.signal('SIGSTOP')
    const other = await Daemon.of(controlPlane, tenant, { name: 'other' })
    await other.online(tenant)
    const again = await until('the run is given to the other runner', async () => {
      const run = await tenant.get(id)
      return run.session_id !== first.session_id && run.status === 'running' ? run : undefined
    })
    expect(again.attempt).toBe(2)
    sleeper.signal('SIGCONT')
    const run = await tenant.ends(id)
    expect([run.status, run.exit_code, run.session_id]).toEqual(['failed', 9, again.session_id])
    expect((await tenant.events(id)).map(event => event.type)).toContain('lease_expired')
    await noContainersLeft((await tenant.runners()).map(runner => runner.id))
    await Promise.all([sleeper.end('SIGTERM'), other.end('SIGTERM')])
  })

  test('with a wiped state folder removes the containers of its former self', async () => {
    const tenant = await controlPlane.tenant()
    const daemon = await Daemon.of(controlPlane, tenant, { name: 'wiped' })
    await daemon.online(tenant)
    const former = (await tenant.runners()).map(runner => runner.id)
    const { id } = await tenant.run({ image, command: JOBS.sleepMs(600_000), max_attempts: 1 })
    await tenant.reaches(id, 'running')
    await daemon.end('SIGKILL')
    rmSync(daemon.stateDir, { recursive: true, force: true })
    // Its name is free again once the former self counts as offline; until then it asks again and again.
    daemon.start()
    const run = await tenant.ends(id)
    expect([run.status, run.failure?.domain]).toEqual(['lost', 'runner'])
    const now = () => tenant.runners().then(runners => runners.map(runner => runner.id))
    await until(
      'the container is gone',
      async () => (await sessionContainers([...former, ...(await now())])).length === 0,
      180_000,
    )
    await daemon.end('SIGTERM')
  })

  test('whose state folder was copied: the older process stops its sessions and stays idle', async () => {
    const tenant = await controlPlane.tenant()
    const original = await Daemon.of(controlPlane, tenant, { name: 'copied' })
    await original.online(tenant)
    const held = await tenant.run({ image, command: JOBS.sleepMs(600_000), max_attempts: 1 })
    const { session_id } = await tenant.reaches(held.id, 'running')
    const copy = newFolder('copy')
    cpSync(original.stateDir, copy, { recursive: true, filter: file => !file.endsWith('.sock') })
    const clone = original.copyTo(copy)
    const former = (await tenant.runners()).map(runner => runner.id)
    expect((await sessionContainers(former)).map(one => one.sessionId)).toContain(session_id)
    clone.start()
    await until('one of the two was superseded', () =>
      /boot_superseded|superseded/.test(original.log() + clone.log()),
    )
    await until(
      'the session of the older one has ended',
      async () => !(await sessionContainers(former)).some(one => one.sessionId === session_id),
    )
    expect(original.hasEnded()).toBe(false)
    await tenant.ends(held.id)
    const { id } = await tenant.run({ image, command: JOBS.succeed })
    expect((await tenant.ends(id)).status).toBe('succeeded')
    const runnerIds = (await tenant.runners()).map(runner => runner.id)
    expect(runnerIds.length).toBe(1)
    await noContainersLeft(runnerIds)
    await Promise.all([original.end('SIGKILL'), clone.end('SIGKILL')])
  })

  test('told to leave exits within 10 s, and its session goes on for the next daemon', async () => {
    const tenant = await controlPlane.tenant()
    const daemon = await Daemon.of(controlPlane, tenant, { name: 'leaves' })
    await daemon.online(tenant)
    const runnerIds = (await tenant.runners()).map(runner => runner.id)
    const { id } = await tenant.run({ image, command: node('setTimeout(() => process.exit(8), 6000)') })
    const running = await tenant.reaches(id, 'running')
    let isLate = false
    const limit = setTimeout(() => {
      isLate = true
      daemon.signal('SIGKILL')
    }, 10_000)
    await daemon.end('SIGTERM')
    clearTimeout(limit)
    expect(isLate, 'it had to be killed').toBe(false)
    expect((await sessionContainers(runnerIds)).map(one => one.sessionId)).toEqual([running.session_id])
    await daemon.online(tenant)
    const run = await tenant.ends(id)
    expect([run.exit_code, run.session_id, run.attempt]).toEqual([8, running.session_id, 1])
    await noContainersLeft(runnerIds)
    await daemon.end('SIGTERM')
  })
})
