import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ControlPlane, type Tenant } from '../support/control-plane.ts'
import { HAS_ENGINE, noContainersLeft, nodeImage } from '../support/engine.ts'
import { JOBS, node } from '../support/jobs.ts'
import { PrivateEngine } from '../support/private-engine.ts'
import { Daemon } from '../support/runner.ts'
import { until } from '../support/until.ts'

const CAN_RUN = HAS_ENGINE && PrivateEngine.missing() === null

describe.skipIf(!CAN_RUN)('an Engine restarted under the daemon, with live restore', () => {
  const controlPlane = new ControlPlane()
  const engine = new PrivateEngine({ liveRestore: true })
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

describe.skipIf(!CAN_RUN)('an Engine restarted with its containers', () => {
  const controlPlane = new ControlPlane()
  const engine = new PrivateEngine({ liveRestore: false })
  let tenant: Tenant
  let daemon: Daemon
  let image: string

  beforeAll(async () => {
    await Promise.all([engine.start(), controlPlane.start()])
    image = await nodeImage(engine.docker)
    tenant = await controlPlane.tenant()
    const env = { DOCKER_HOST: `unix://${engine.socket}` }
    daemon = await Daemon.of(controlPlane, tenant, { name: 'restarted-whole', env })
    await daemon.online(tenant)
  })
  afterAll(async () => {
    await daemon.end('SIGTERM')
    await controlPlane.stop()
    await engine.destroy()
  })

  async function sleeping(): Promise<string> {
    const { id } = await tenant.run({
      image,
      command: node('setTimeout(() => {}, 600_000)'),
      max_attempts: 1,
    })
    await tenant.reaches(id, 'running')
    return id
  }
  async function endsAsTheEnginesDoing(id: string): Promise<void> {
    const { status, failure } = await tenant.ends(id)
    expect([status, failure?.domain, failure?.code]).toEqual(['failed', 'runner', 'engine_error'])
    expect(failure?.message).toMatch(/^the Docker Engine /)
  }

  test('fails no test: the run ends as the runner’s trouble', async () => {
    const id = await sleeping()
    await engine.stop()
    await engine.start()
    await endsAsTheEnginesDoing(id)
  })

  test('nor when the daemon is away meanwhile, as it is in a container of the same Engine', async () => {
    const id = await sleeping()
    await daemon.end('SIGTERM')
    await engine.stop()
    await engine.start()
    await daemon.online(tenant)
    await endsAsTheEnginesDoing(id)
  })

  test('a command that ends so by itself while the daemon is away has failed', async () => {
    const command = node('setTimeout(() => process.exit(143), 3000)')
    const { id } = await tenant.run({ image, command, max_attempts: 1 })
    await tenant.reaches(id, 'running')
    await daemon.end('SIGKILL')
    await until('the container has ended', async () => (await engine.docker.listContainers()).length === 0)
    await daemon.online(tenant)
    const { exit_code, failure } = await tenant.ends(id)
    expect([exit_code, failure?.code]).toEqual([143, 'non_zero_exit'])
  })
})
