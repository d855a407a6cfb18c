import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { z } from 'zod'
import { ContainerEngine } from './support/container-engine.ts'
import { examine, outcomes } from './support/doctor.ts'
import { POOL } from './support/fake-control-plane.ts'
import { FakeEngine } from './support/fake-engine.ts'
import { AS_PLAIN_OWNER, plainOwnerMissing } from './support/privileges.ts'
import { RunnerProcess, removeDirectory, temporaryDirectory } from './support/runner-process.ts'

/** Engines that are not there, not for this user, or not what they should be. */

let directory: string
let socket: string
const closing: (() => unknown)[] = []
beforeEach(() => {
  directory = temporaryDirectory()
  socket = join(directory, 'engine.sock')
})
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
  removeDirectory(directory)
})

function settings(): Record<string, string> {
  return {
    CONTROL_PLANE_URL: 'http://127.0.0.1:1',
    RUNNER_POOL_ID: POOL,
    RUNNER_STATE_DIR: join(directory, 'state'),
    DOCKER_HOST: `unix://${socket}`,
  }
}

const theEngine = async () => (await examine(settings())).get('Docker Engine')

async function listening(server: Server): Promise<void> {
  await new Promise<void>(resolve => server.listen(socket, resolve))
  closing.push(() => server.close())
}

/** @param info its answer to the one call that matters here */
async function anEngine(info: unknown, status = 200): Promise<void> {
  const engine = new FakeEngine(socket)
  engine.answer = path =>
    path === '/info' ? { status, body: info } : { status: 404, body: { message: path } }
  await engine.open()
  closing.push(() => engine.shut())
}

const GOOD = { ID: 'engine', ServerVersion: '27.0', NCPU: 2, MemTotal: 2 ** 30, SwapLimit: true }

test('one that is well is ok, with its version and size', async () => {
  await anEngine({ ...GOOD, SecurityOptions: ['name=seccomp,profile=builtin'] })
  const found = await examine(settings())
  expect(found.get('Docker Engine')?.seen).toBe('version 27.0, 2 CPUs, 1024 MB')
  expect(outcomes(found, ['Docker Engine', 'Engine limits', 'state mount'])).toBe(
    'Docker Engine ok, Engine limits ok, state mount ok',
  )
})

test('a missing socket fails with how to mount it, and what needs the Engine is skipped', async () => {
  const found = await examine(settings(), 'busybox')
  expect(found.get('Docker Engine')).toMatchObject({
    outcome: 'fail',
    seen: `there is no socket at ${socket}`,
    remedy: expect.stringContaining('-v /var/run/docker.sock:/var/run/docker.sock'),
  })
  const skipped = [
    'Engine limits',
    'state mount',
    'job image',
    'job network',
    'job container',
    'browser sandbox',
  ]
  expect(outcomes(found, skipped)).toBe(skipped.map(name => `${name} skipped`).join(', '))
  expect(found.get('job image')?.seen).toBe('skipped (needs: Docker Engine)')
  expect(found.get('browser sandbox')?.seen).toBe('skipped (needs: job container)')
})

test('a directory in the socket’s place, which a mount of nothing leaves, is told as such', async () => {
  mkdirSync(socket)
  expect(await theEngine()).toMatchObject({
    outcome: 'fail',
    seen: `${socket} is no socket`,
    remedy: expect.stringContaining('Docker makes a directory'),
  })
})

test('a socket that nobody listens on fails with how to start Docker', async () => {
  const bind = `require('net').createServer().listen(${JSON.stringify(socket)}, () => process.kill(process.pid, 'SIGKILL'))`
  spawnSync(process.execPath, ['-e', bind])
  expect(await theEngine()).toMatchObject({
    outcome: 'fail',
    seen: `nothing listens at ${socket}`,
    remedy: expect.stringContaining('systemctl start docker'),
  })
})

test.skipIf(plainOwnerMissing() !== null)(
  'one that this user may not open fails with the group to add',
  async () => {
    await anEngine(GOOD)
    chmodSync(socket, 0)
    const runner = new RunnerProcess(settings(), ['doctor'], AS_PLAIN_OWNER)
    await runner.ended()
    const text = runner.log.map(({ msg }) => msg).join('\n')
    expect(text).toMatch(
      /^FAIL {2}Docker Engine: this user \(uid \d+\) may not open .*\n {6}-> .*--group-add \d+/m,
    )
  },
)

test.each([
  ['no HTTP', 'SSH-2.0-nothing of the kind\r\n'],
  ['another page', 'HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n<html>hello'],
  [
    'another form of JSON',
    'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{"ID":7}',
  ],
  ['nothing', ''],
])('what answers with %s is no Engine', async (_name, answer) => {
  await listening(createServer(one => one.once('data', () => one.end(answer)).on('error', () => undefined)))
  expect(await theEngine()).toMatchObject({
    outcome: 'fail',
    seen: expect.stringMatching(/^what answers at .* is no Docker Engine: \S/),
    remedy: 'check DOCKER_HOST',
  })
})

test('one that refuses is quoted', async () => {
  await anEngine({ message: 'authorization denied by plugin' }, 403)
  expect(await theEngine()).toMatchObject({
    outcome: 'fail',
    seen: 'refuses (403): authorization denied by plugin',
    remedy: expect.stringContaining('proxy in front of the socket'),
  })
})

test('one that cannot limit what jobs take fails, because no job would be started', async () => {
  await anEngine({ ...GOOD, MemoryLimit: false, CpuCfsQuota: false })
  const found = await examine(settings())
  expect(found.get('Engine limits')).toMatchObject({
    outcome: 'fail',
    seen: 'cannot limit memory, CPU, so no job is started',
    remedy: expect.stringContaining('cgroup_enable=memory'),
  })
})

test.each([
  [{ OSType: 'windows' }, 'fail'],
  [{ SecurityOptions: ['name=apparmor'] }, 'warn'],
])('one with %j is a %s', async (change, outcome) => {
  await anEngine({ ...GOOD, ...change })
  expect((await examine(settings())).get('Engine limits')?.outcome).toBe(outcome)
})

test('one that makes another container than was asked for fails before anything runs in it', async () => {
  const engine = new FakeEngine(socket)
  const made = new ContainerEngine(engine)
  made.before = (path, _method, { body }) => {
    if (path === '/info') return { status: 200, body: GOOD }
    if (path.startsWith('/networks/')) {
      return {
        status: 200,
        body: { Id: '0123', Options: { 'com.docker.network.bridge.enable_icc': 'false' } },
      }
    }
    const asked = z.object({ HostConfig: z.object({ ReadonlyRootfs: z.boolean() }) }).safeParse(body)
    if (asked.success && body !== null) Object.assign(Object(body).HostConfig, { ReadonlyRootfs: false })
    return null
  }
  await engine.open()
  closing.push(() => engine.shut())
  const found = await examine(settings(), 'busybox')
  expect(found.get('job container')).toMatchObject({
    outcome: 'fail',
    seen: expect.stringContaining('HostConfig.ReadonlyRootfs: asked for true'),
    remedy: expect.stringContaining('daemon.json'),
  })
  expect(engine.calls.filter(call => call.endsWith('/start'))).toEqual([])
  expect(made.containers.size).toBe(0)
})

test('without an image to try, how to name one is said', async () => {
  await anEngine(GOOD)
  const found = await examine(settings())
  expect(found.get('job container')).toMatchObject({
    outcome: 'skipped',
    seen: 'skipped (needs: an image your runs use: doctor --image <image>)',
  })
})
