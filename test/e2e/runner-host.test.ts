import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { cpSync, existsSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Artifacts } from '../../protocol/session-files.ts'
import { runnerBundle } from '../../scripts/build/runner-bundle.ts'
import { ControlPlane, type Tenant } from '../support/control-plane.ts'
import { engineSocket, HAS_ENGINE, noContainersLeft, nodeImage } from '../support/engine.ts'
import { newFolder } from '../support/folders.ts'
import { JOBS, node } from '../support/jobs.ts'
import { ROOT, startProgram } from '../support/process.ts'
import { Daemon } from '../support/runner.ts'
import { hasTools } from '../support/tools.ts'
import { until } from '../support/until.ts'

/** What deploy/ has for the host of a runner, with a real Engine. */

const HOST = path.join(ROOT, 'deploy/runner-host')
const controlPlane = new ControlPlane()
let tenant: Tenant
let image: string

beforeAll(async () => {
  if (!HAS_ENGINE) return
  image = await nodeImage()
  await controlPlane.start()
  tenant = await controlPlane.tenant()
})
afterAll(() => controlPlane.stop())

/** Leaves files that nobody but its user may read, in folders that nobody else may write. */
const LEAVE_PRIVATE = node(`
  process.umask(0o077); process.chdir(process.env.CERTYN_ARTIFACTS_DIR)
  require('fs').mkdirSync('deep/er', { recursive: true })
  require('fs').writeFileSync('deep/er/secret.txt', 'private')`)

async function leavesPrivateFiles(): Promise<void> {
  const run = await tenant.ends((await tenant.run({ image, command: LEAVE_PRIVATE })).id)
  expect(run.status, run.failure?.message).toBe('succeeded')
  await until('its artifact is there', async () => {
    const { items } = await tenant.api.get(`/runs/${run.id}/artifacts`, Artifacts)
    return items.some(({ name }) => name === 'deep/er/secret.txt')
  })
}

describe.skipIf(!hasTools('haproxy') || !HAS_ENGINE)('through the proxy before the Engine', () => {
  const socket = path.join(newFolder('engine-proxy'), 'docker.sock')
  let proxy: ChildProcess
  let said = ''
  let daemon: Daemon

  beforeAll(async () => {
    const env = { ...process.env, CERTYN_PROXY_SOCKET: socket, CERTYN_ENGINE_SOCKET: engineSocket() }
    proxy = spawn('haproxy', ['-f', path.join(HOST, 'docker-socket-proxy.cfg')], { env })
    proxy.stdout?.on('data', text => {
      said += text
    })
    await until('the proxy listens', () => Promise.resolve(existsSync(socket)))
    daemon = await Daemon.of(controlPlane, tenant, {
      name: 'proxied',
      env: { DOCKER_HOST: `unix://${socket}` },
    })
    await daemon.online(tenant)
  })
  afterAll(async () => {
    await daemon?.end('SIGTERM')
    proxy?.kill('SIGKILL')
  })

  test('runs are started, watched, cancelled, lost and found, and nothing of it is refused', async () => {
    const [ok, failed, slow] = await Promise.all(
      [JOBS.succeed, JOBS.exitWith(3), JOBS.sleepMs(600_000)].map(command => tenant.run({ image, command })),
    )
    expect((await tenant.ends(ok?.id ?? '')).status).toBe('succeeded')
    expect((await tenant.ends(failed?.id ?? '')).exit_code).toBe(3)
    await tenant.reaches(slow?.id ?? '', 'running')
    await daemon.end('SIGKILL')
    await daemon.online(tenant)
    await tenant.cancel(slow?.id ?? '')
    expect((await tenant.ends(slow?.id ?? '')).status).toBe('cancelled')
    await leavesPrivateFiles()
    await noContainersLeft((await tenant.runners()).map(runner => runner.id))
    expect(said).toBe('')
  })

  test('the doctor looks at the Engine and into a job, and nothing of it is refused', async () => {
    const doctor = startProgram('runner/main.ts', ['doctor', '--image', image], {
      CONTROL_PLANE_URL: controlPlane.url,
      RUNNER_POOL_ID: tenant.poolId,
      RUNNER_NAME: 'examined',
      RUNNER_STATE_DIR: newFolder('examined'),
      DOCKER_HOST: `unix://${socket}`,
    })
    await doctor.exited
    expect(doctor.output()).toContain('job')
    expect(said).toBe('')
  })

  test.each([
    ['POST', '/v1.41/containers/create?name=other'],
    ['POST', '/containers/create'],
    ['POST', '/v1.41/containers/certyn-x/exec'],
    ['POST', '/v1.41/containers/certyn-x/update'],
    ['POST', '/v1.41/containers/certyn-x/attach'],
    ['PUT', '/v1.41/containers/certyn-x/archive?path=/'],
    ['GET', '/v1.41/containers/certyn-x/archive?path=/etc'],
    ['POST', '/v1.41/build'],
    ['POST', '/v1.41/images/load'],
    ['POST', '/v1.41/commit?container=certyn-x'],
    ['DELETE', '/v1.41/images/x'],
    ['GET', '/v1.41/secrets'],
    ['POST', '/v1.41/volumes/create'],
    ['POST', '/v1.41/plugins/pull'],
    ['POST', '/v1.41/swarm/init'],
    ['POST', '/v1.41/networks/certyn-jobs/connect'],
    ['POST', '/v1.41/containers/prune'],
    ['GET', '/v1.41/containers/x/../../secrets/json'],
    ['GET', '/v1.41/containers/x%2F..%2F..%2Fsecrets/json'],
    ['GET', '/secrets'],
  ])('%s %s is refused, and said', async (method, url) => {
    const before = said.length
    const status = await new Promise(resolve => {
      const call = request({ socketPath: socket, method, path: url }, answer => {
        answer.resume()
        resolve(answer.statusCode)
      })
      call.on('error', resolve).end()
    })
    expect(status).toBe(403)
    await until('it is said', () => Promise.resolve(said.length > before))
    expect(said.slice(before)).toContain(`refused ${method}`)
  })
})

describe.skipIf(!hasTools('docker-compose') || !HAS_ENGINE)('the compose file', () => {
  const folder = newFolder('runner-host')
  const stateDir = newFolder('runner-host-state')
  const env = {
    PATH: process.env.PATH,
    HOME: folder,
    COMPOSE_PROJECT_NAME: `certyn${crypto.randomUUID().slice(0, 8)}`,
    CERTYN_RUNNER_IMAGE: 'certyn/runner:compose',
    CERTYN_STATE_DIR: stateDir,
  }

  beforeAll(async () => {
    cpSync(HOST, folder, { recursive: true })
    await runnerBundle(ROOT)
    const base = process.env.CERTYN_BASE_IMAGE ?? image
    call(
      ROOT,
      'docker',
      ['build', '-q', '-f', 'runner/Dockerfile', '--build-arg', `BASE_IMAGE=${base}`].concat([
        '-t',
        env.CERTYN_RUNNER_IMAGE,
        '.',
      ]),
    )
    writeFileSync(path.join(folder, 'registration-token'), await tenant.token(), { mode: 0o600 })
    writeFileSync(
      path.join(folder, 'runner.env'),
      `CONTROL_PLANE_URL=${controlPlane.url}\nRUNNER_POOL_ID=${tenant.poolId}\nRUNNER_NAME=composed\nRUNNER_MIN_DISK_MB=0\n`,
    )
    // The control plane is on this host's loopback, and an Engine in a container may not put anything before others.
    const here = 'services: {runner: {network_mode: host, oom_score_adj: 0}}\n'
    writeFileSync(path.join(folder, 'compose.here.yml'), here)
  })
  afterAll(() => {
    compose('down', '--volumes')
    rmSync(stateDir, { recursive: true, force: true })
  })

  const compose = (...args: string[]) =>
    call(folder, 'docker-compose', ['-f', 'compose.yml', '-f', 'compose.here.yml', ...args], env)

  test('starts a runner with few rights that does everything, and keeps its token out of its environment', async () => {
    compose('up', '-d')
    await until('it is online', async () => {
      const one = (await tenant.runners()).find(({ name }) => name === 'composed')
      return one?.status === 'online'
    })
    await leavesPrivateFiles()
    expect(call(folder, 'docker', ['inspect', compose('ps', '-q').trim()])).not.toContain('cty_reg')
    await noContainersLeft((await tenant.runners()).map(runner => runner.id))
    // Nothing of its jobs is left for the operator to remove.
    expect(call(folder, 'find', [path.join(stateDir, 'sessions'), '-name', 'secret.txt'])).toBe('')
  })
})

function call(
  cwd: string,
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, { cwd, env, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? ''}${stderr}${stdout}`)
  return stdout
}
