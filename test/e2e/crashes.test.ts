import { cpSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ControlPlane, endsAmong, type Tenant } from '../support/control-plane.ts'
import { HAS_ENGINE, noContainersLeft, nodeImage, sessionContainers, watchStarts } from '../support/engine.ts'
import { newFolder } from '../support/folders.ts'
import { JOBS, node } from '../support/jobs.ts'
import { Daemon } from '../support/runner.ts'
import { until } from '../support/until.ts'

/** What is lost when a process is killed: nothing. Each test has a tenant and a runner of its own. */
describe.skipIf(!HAS_ENGINE)('after a kill -9', () => {
  // A lease outlives every restart, however slow the machine: nothing ends for want of a sync.
  const controlPlane = new ControlPlane({
    SelfHosted__LeaseTtlSeconds: '60',
    SelfHosted__OfferTtlSeconds: '60',
  })
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
    await until('every slot is free and nothing waits', async () => {
      const { slots_busy, queued } = (await tenant.pool()).stats
      return slots_busy === 0 && queued === 0
    })
    for (const [sessionId, starts] of watch.starts) expect(starts, sessionId).toBe(1)
  }

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

  // The moments are any moments: whatever is going on then, what is expected is the same.
  test('of the control plane again and again, every acknowledged run ends once and truly', async () => {
    const { tenant, daemon, runnerIds } = await fleet('acknowledged')
    const acknowledged = new Map<string, number>()
    const creating = (async () => {
      while (acknowledged.size < 20) {
        const exitCode = 10 + acknowledged.size
        const command = node(`setTimeout(() => process.exit(${exitCode}), ${Math.random() * 800})`)
        const run = await tenant.run({ image, command }).catch(() => null)
        if (run !== null) acknowledged.set(run.id, exitCode)
        await sleep(Math.random() * 200)
      }
    })()
    for (const round of [1, 2, 3, 4]) {
      await until('more runs are acknowledged', () => acknowledged.size >= round * 4)
      await sleep(Math.random() * 500)
      await controlPlane.killGroup()
      await controlPlane.start()
    }
    await creating
    for (const [id, exitCode] of acknowledged) {
      expect((await tenant.ends(id)).exit_code).toBe(exitCode)
      const events = await tenant.eventsToEnd(id)
      expect(endsAmong(events)).toHaveLength(1)
      const sessions = [...new Set(events.flatMap(event => event.session_id ?? []))]
      expect(sessions.map(session => watch.starts.get(session))).toEqual([1])
    }
    // What was stored and not acknowledged in time is a run like any other.
    for (const { id } of await tenant.runs()) await tenant.ends(id)
    await atRest(tenant, runnerIds)
    await daemon.end('SIGTERM')
  })
})

describe.skipIf(!HAS_ENGINE).concurrent('a runner', () => {
  const controlPlane = new ControlPlane()
  let image: string

  beforeAll(async () => {
    image = await nodeImage()
    await controlPlane.start()
  })
  afterAll(async () => {
    await controlPlane.stop()
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
