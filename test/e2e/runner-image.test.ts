import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runnerBundle } from '../../scripts/build/runner-bundle.ts'
import { ControlPlane, type Tenant } from '../support/control-plane.ts'
import { engine, HAS_ENGINE, noContainersLeft, nodeImage } from '../support/engine.ts'
import { newFolder } from '../support/folders.ts'
import { JOBS } from '../support/jobs.ts'
import { ROOT } from '../support/process.ts'
import { until } from '../support/until.ts'

const IMAGE = 'certyn/runner:test'

/** The image as released, started with the documented command; only the network differs, to reach this host. */
describe.skipIf(!HAS_ENGINE)('the runner image', () => {
  const controlPlane = new ControlPlane()
  const stateDir = newFolder('image')
  const name = `certyn-runner-${crypto.randomUUID().slice(0, 8)}`
  let tenant: Tenant
  let jobImage: string

  beforeAll(async () => {
    jobImage = await nodeImage()
    await runnerBundle(ROOT)
    const base = process.env.CERTYN_BASE_IMAGE ?? jobImage
    docker('build', '-q', '-f', 'runner/Dockerfile', '--build-arg', `BASE_IMAGE=${base}`, '-t', IMAGE, '.')
    await controlPlane.start()
    tenant = await controlPlane.tenant()
  })
  afterAll(async () => {
    docker('rm', '-f', name)
    await controlPlane.stop()
    rmSync(stateDir, { recursive: true, force: true })
  })

  test('joins the pool with the documented command, runs a session and reports healthy', async () => {
    docker(
      ...['run', '-d', '--name', name, '--restart', 'unless-stopped', '--network', 'host'],
      ...['-v', '/var/run/docker.sock:/var/run/docker.sock', '-v', `${stateDir}:/var/lib/certyn-runner`],
      ...['-e', `CONTROL_PLANE_URL=${controlPlane.url}`, '-e', `RUNNER_POOL_ID=${tenant.poolId}`],
      ...['-e', `REGISTRATION_TOKEN=${await tenant.token()}`, '-e', 'RUNNER_NAME=runner-east-1'],
      ...['-e', 'MAX_CONCURRENCY=2', '-e', 'RUNNER_MIN_DISK_MB=0', IMAGE],
    )
    await until('it is online', async () => {
      const { State } = await engine().getContainer(name).inspect()
      if (State.Restarting || !State.Running) throw new Error(docker('logs', name))
      return (await tenant.pool()).stats.runners_online === 1
    })
    const run = await tenant.ends((await tenant.run({ image: jobImage, command: JOBS.exitWith(3) })).id)
    expect([run.status, run.exit_code], run.failure?.message).toEqual(['failed', 3])
    expect(docker('exec', name, 'node', '/usr/local/lib/certyn-runner/runner.mjs', 'health')).toContain(
      'healthy',
    )
    await noContainersLeft((await tenant.runners()).map(runner => runner.id))
  })

  test('leaves within ten seconds when it is stopped', async () => {
    // After ten seconds the Engine kills it, which shows as 137.
    docker('stop', '-t', '10', name)
    const { State } = await engine().getContainer(name).inspect()
    expect(State.ExitCode).not.toBe(137)
    expect(State.ExitCode).toBe(0)
  })

  test('holds one file beside Node and no secret', async () => {
    const { Config } = await engine().getImage(IMAGE).inspect()
    expect(Config.Healthcheck?.Test).toEqual([
      'CMD',
      'node',
      '/usr/local/lib/certyn-runner/runner.mjs',
      'health',
    ])
    expect(Config.Env.join('\n')).not.toMatch(/TOKEN|cty_/)
  })
})

function docker(...args: string[]): string {
  const result = spawnSync('docker', args, { cwd: ROOT, encoding: 'utf8' })
  if (result.status !== 0) throw new Error(`docker ${args[0]}: ${result.stderr}${result.stdout}`)
  return result.stdout + result.stderr
}
