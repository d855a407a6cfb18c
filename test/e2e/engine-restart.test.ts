import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ControlPlane, type Tenant } from '../support/control-plane.ts'
import { HAS_ENGINE, noContainersLeft, nodeImage } from '../support/engine.ts'
import { JOBS, node } from '../support/jobs.ts'
import { PrivateEngine } from '../support/private-engine.ts'
import { Daemon } from '../support/runner.ts'

const CAN_RUN = HAS_ENGINE && PrivateEngine.missing() === null

describe.skipIf(!CAN_RUN)('an Engine restarted under the daemon', () => {
  const controlPlane = new ControlPlane()
  const engine = new PrivateEngine()
  let tenant: Tenant
  let daemon: Daemon
  let image: string
  let runnerIds: string[]

  beforeAll(async () => {
    await Promise.all([engine.start(), controlPlane.start()])
    image = await nodeImage(engine.docker)
    tenant = await controlPlane.tenant()
    const env = { DOCKER_HOST: `unix://${engine.socket}` }
    daemon = await Daemon.of(controlPlane, tenant, { name: 'restarted', env })
    await daemon.online(tenant)
    runnerIds = (await tenant.runners()).map(runner => runner.id)
  })
  afterAll(async () => {
    await daemon.end('SIGTERM')
    await controlPlane.stop()
    await engine.destroy()
  })

  test('costs no session and no second attempt', async () => {
    const { id } = await tenant.run({ image, command: node('setTimeout(() => process.exit(11), 6000)') })
    const running = await tenant.reaches(id, 'running')
    expect(running.status).toBe('running')
    await engine.stop()
    await engine.start()
    const run = await tenant.ends(id)
    expect([run.status, run.exit_code, run.attempt, run.session_id]).toEqual([
      'failed',
      11,
      1,
      running.session_id,
    ])
    await noContainersLeft(runnerIds, engine.docker)
  })

  test('takes runs again afterwards', async () => {
    expect((await tenant.ends((await tenant.run({ image, command: JOBS.succeed })).id)).status).toBe(
      'succeeded',
    )
  })

  test('that is away while a run is created delays the run and loses nothing', async () => {
    await engine.stop()
    const { id } = await tenant.run({ image, command: JOBS.exitWith(12), max_attempts: 5 })
    await engine.start()
    const run = await tenant.ends(id)
    expect([run.status, run.exit_code]).toEqual(['failed', 12])
    await noContainersLeft(runnerIds, engine.docker)
  })
})
