import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../../runner/clock.ts'
import { readConfig } from '../../../runner/config.ts'
import { removeLeftovers } from '../../../runner/doctor/job/container.ts'
import { SessionContainers } from '../../../runner/executors/docker/session-containers.ts'
import { LABELS } from '../../../runner/executors/docker/template.ts'
import { readPolicy } from '../../../runner/policy.ts'
import { ensureSampleImage } from '../../../scripts/up/sample-image.ts'
import { examine, outcomes } from '../support/doctor.ts'
import { buildTestImage, docker, ENGINE_SOCKET, engineMissing, IMAGE } from '../support/engine.ts'
import { EngineProxy, Hold } from '../support/engine-proxy.ts'
import { FakeControlPlane, POOL } from '../support/fake-control-plane.ts'
import { mountMissing } from '../support/privileges.ts'
import {
  RunnerProcess,
  removeDirectory,
  settingsFor,
  temporaryDirectory,
  until,
} from '../support/runner-process.ts'

const missing = await engineMissing()
const JOB_CHECKS = ['job image', 'job network', 'job container', 'job /dev/shm']
/** A program and nothing to start it with. */
const BARE_IMAGE = 'certyn-test/bare:latest'

describe.skipIf(missing !== null)(
  `the doctor inside a job${missing === null ? '' : ` (skipped: ${missing})`}`,
  () => {
    let directory: string
    const closing: (() => unknown)[] = []
    beforeAll(() => buildTestImage())
    beforeEach(() => {
      directory = temporaryDirectory()
    })
    afterEach(async () => {
      for (const close of closing.splice(0).reverse()) await close()
      expect(await containers()).toEqual([])
      expect(readdirSync(directory).filter(name => name.startsWith('doctor'))).toEqual([])
      removeDirectory(directory)
    })

    function settings(change: Readonly<Record<string, string>> = {}): Record<string, string> {
      return {
        CONTROL_PLANE_URL: 'http://127.0.0.1:1',
        RUNNER_POOL_ID: POOL,
        RUNNER_STATE_DIR: directory,
        RUNNER_MIN_DISK_MB: '0',
        RUNNER_PULL_POLICY: 'never',
        DOCKER_HOST: `unix://${ENGINE_SOCKET}`,
        ...change,
      }
    }

    /** The doctor's containers of this test's state directory: others may be at work on this Engine. */
    async function containers() {
      const filters = { label: [`${LABELS.installation}=doctor`] }
      const all = await docker.listContainers({ all: true, filters })
      return all.filter(one => one.Mounts.some(({ Source }) => Source?.startsWith(`${directory}/`)))
    }

    function policy(value: Readonly<Record<string, unknown>>): string {
      const file = join(directory, 'policy.json')
      writeFileSync(file, JSON.stringify(value))
      return file
    }

    /** A network of the test's own, on which the host can listen without being in anybody's way. */
    async function aNetwork(change: Readonly<Record<string, unknown>> = {}) {
      const Name = `certyn-doctor-test-${process.pid}-${Date.now()}`
      const made = await docker.createNetwork({ Name, Driver: 'bridge', ...change })
      closing.push(() => made.remove())
      const { IPAM } = await made.inspect()
      return { name: Name, gateway: String(IPAM?.Config?.[0]?.Gateway) }
    }

    /** Its calls that begin something, held on their way to the Engine. */
    async function aHold(path: RegExp): Promise<{ hold: Hold; socket: string }> {
      const proxy = new EngineProxy(join(directory, 'engine.sock'), ENGINE_SOCKET)
      await proxy.open()
      closing.push(() => proxy.shut())
      const hold = new Hold('POST', path)
      proxy.onRequest = call => hold.on(call)
      return { hold, socket: proxy.path }
    }

    test('of an image with a shell finds the template whole, and the sandbox possible', async () => {
      const found = await examine(settings(), IMAGE)
      expect(outcomes(found, JOB_CHECKS)).toBe(JOB_CHECKS.map(name => `${name} ok`).join(', '))
      expect(found.get('job container')?.seen).toBe(
        'starts on certyn-jobs as user 1000, root read-only, no capabilities, system calls filtered, 2048 MB, 1 CPU, 512 processes',
      )
      expect(found.get('job /dev/shm')?.seen).toBe('512 MB, as asked')
      expect(found.get('browser sandbox')).toMatchObject({
        outcome: 'ok',
        seen: expect.stringContaining('the policy file does not set allow_userns_seccomp'),
      })
      expect(found.get('job to cloud metadata')?.seen).toMatch(
        /\(169\.254\.169\.254: [\w ]+, fd00:ec2::254: [\w ]+\)$/,
      )
      expect(found.get('job DNS')?.seen).toBe('skipped (needs: a CONTROL_PLANE_URL with a name to resolve)')
    })

    test('of an image with Node and no shell finds the same', async () => {
      const image = await ensureSampleImage(docker)
      const found = await examine(settings(), image)
      expect(outcomes(found, JOB_CHECKS)).toBe(JOB_CHECKS.map(name => `${name} ok`).join(', '))
      expect(found.get('job container')?.seen).toContain('as user 1000, root read-only, no capabilities')
      expect(found.get('job to cloud metadata')?.seen).toMatch(/fd00:ec2::254: [\w ]+\)$/)
      expect(found.get('job to host')?.outcome).toMatch(/^(?:ok|warn)$/)
      expect(found.get('browser sandbox')?.seen).toBe('skipped (needs: an image with unshare)')
    })

    test.each(['shell', 'node'])(
      'finds what the host offers to jobs, and that they get no further (%s)',
      async kind => {
        const image = kind === 'shell' ? IMAGE : await ensureSampleImage(docker)
        const { name, gateway } = await aNetwork({ Internal: true })
        const server = createServer(socket => socket.on('error', () => undefined))
        await new Promise<void>(resolve => server.listen(2375, gateway, resolve))
        closing.push(() => server.close())
        const found = await examine(settings({ RUNNER_POLICY_FILE: policy({ network: name }) }), image)
        expect(found.get('job network')?.seen).toBe(`${name}, gateway ${gateway}`)
        expect(found.get('job to host')).toMatchObject({
          outcome: 'warn',
          seen: `reached: ${gateway} port 2375`,
          remedy: expect.stringMatching(/iptables -I INPUT -i br-[0-9a-f]{12} /),
        })
        expect(found.get('job to cloud metadata')).toMatchObject({
          outcome: 'ok',
          seen: expect.stringMatching(
            /^not reached \(169\.254\.169\.254: (?:no route|silent), fd00:ec2::254: no route\)$/,
          ),
        })
      },
    )

    test.each(['shell', 'node'])(
      'tells whether the control plane’s name is resolved there (%s)',
      async kind => {
        const image = kind === 'shell' ? IMAGE : await ensureSampleImage(docker)
        const { name } = await aNetwork()
        const other = await docker.createContainer({
          Image: IMAGE,
          Cmd: ['sleep', '600'],
          HostConfig: { NetworkMode: name },
          NetworkingConfig: { EndpointsConfig: { [name]: { Aliases: ['cp.test'] } } },
        })
        closing.push(() => other.remove({ force: true }))
        await other.start()
        const env = settings({ RUNNER_POLICY_FILE: policy({ network: name }) })
        const known = await examine({ ...env, CONTROL_PLANE_URL: 'https://cp.test' }, image)
        expect(known.get('job DNS')).toMatchObject({ outcome: 'ok', seen: 'cp.test is resolved' })
        const unknown = await examine({ ...env, CONTROL_PLANE_URL: 'https://no-such-host.invalid' }, image)
        expect(unknown.get('job DNS')).toMatchObject({
          outcome: 'warn',
          remedy: expect.stringContaining('daemon.json'),
        })
      },
    )

    test('of an image that is not there fails, and what needs it is skipped', async () => {
      const found = await examine(settings(), 'certyn-test/no-such-image')
      expect(outcomes(found, JOB_CHECKS)).toBe(
        'job image fail, job network ok, job container skipped, job /dev/shm skipped',
      )
      expect(found.get('job image')?.seen).toContain('RUNNER_PULL_POLICY is never')
    })

    test('of an image that the policy file does not allow fails', async () => {
      const env = settings({ RUNNER_POLICY_FILE: policy({ allowed_images: ['certyn/*'] }) })
      expect((await examine(env, IMAGE)).get('job image')).toMatchObject({
        outcome: 'fail',
        remedy: expect.stringContaining('RUNNER_POLICY_FILE'),
      })
    })

    test('of an image with neither Node nor a shell is skipped', async () => {
      const root = join(directory, 'root')
      for (const name of ['bin', 'tmp', 'run', 'home', 'certyn', 'proc', 'sys', 'dev', 'etc']) {
        mkdirSync(join(root, name), { recursive: true })
      }
      copyFileSync('/bin/busybox', join(root, 'bin/busybox'))
      const tar = join(directory, 'bare.tar')
      execFileSync('tar', ['-C', root, '-cf', tar, '.'])
      execFileSync('docker', ['import', tar, BARE_IMAGE], { stdio: 'ignore' })
      closing.push(() => docker.getImage(BARE_IMAGE).remove())
      const found = await examine(settings(), BARE_IMAGE)
      expect(found.get('job container')?.seen).toBe('skipped (needs: an image with node or a shell)')
    })

    test('says in the Engine’s words why no container is made', async () => {
      const env = settings({ RUNNER_POLICY_FILE: policy({ runtime: 'no-such-runtime' }) })
      const found = await examine(env, IMAGE)
      expect(found.get('job container')).toMatchObject({
        outcome: 'fail',
        seen: expect.stringContaining('no-such-runtime'),
      })
      expect(found.get('job /dev/shm')?.seen).toBe('skipped (needs: job container)')
    })

    test.skipIf(mountMissing() !== null)(
      'of a state directory that the Engine does not see says so',
      async () => {
        const hidden = `mount -t tmpfs certyn-test "${directory}" && exec "$@"`
        const wrapper = ['unshare', '--mount', 'sh', '-c', hidden, 'sh']
        const runner = new RunnerProcess(settings(), ['doctor', '--image', IMAGE], wrapper)
        expect(await runner.ended()).toBe(1)
        const text = runner.log.map(({ msg }) => msg).join('\n')
        expect(text).toMatch(
          /^FAIL {2}job container: .*source path does not exist.*\n {6}-> .* on the Engine's host/m,
        )
      },
    )

    describe('that is stopped', () => {
      test.each(['SIGINT', 'SIGTERM'] as const)('by %s while a job runs removes it', async signal => {
        const { hold, socket } = await aHold(/\/wait$/)
        const runner = new RunnerProcess(settings({ DOCKER_HOST: `unix://${socket}` }), [
          'doctor',
          '--image',
          IMAGE,
        ])
        await until('a container at work', () => hold.held === 1)
        const [container] = await containers()
        expect(container?.Names[0]).toMatch(/^\/certyn-doctor-[0-9a-f]{12}$/)
        runner.kill(signal)
        runner.kill(signal)
        expect(await runner.ended()).toBe(signal === 'SIGINT' ? 130 : 143)
        expect(runner.stderr).toBe(`runner: stopped by ${signal}\n`)
        expect(await containers()).toEqual([])
        hold.release()
      })

      test('while the Engine makes the container waits for it, and removes it', async () => {
        const { hold, socket } = await aHold(/\/containers\/create$/)
        const runner = new RunnerProcess(settings({ DOCKER_HOST: `unix://${socket}` }), [
          'doctor',
          '--image',
          IMAGE,
        ])
        await until('a create on its way', () => hold.held === 1)
        runner.kill('SIGINT')
        // Time to give the call up, if it did: the Engine would then carry it out with nobody to remove the result.
        await Promise.race([runner.ended(), sleep(1000)])
        expect(runner.hasEnded()).toBe(false)
        hold.release()
        expect(await runner.ended()).toBe(130)
      })

      test('together with its Engine says which container it has left', async () => {
        const { hold, socket } = await aHold(/\/wait$/)
        const proxy = closing.at(-1)
        const runner = new RunnerProcess(settings({ DOCKER_HOST: `unix://${socket}` }), [
          'doctor',
          '--image',
          IMAGE,
        ])
        await until('a container at work', () => hold.held === 1)
        proxy?.()
        expect(await runner.ended()).toBe(1)
        const [container] = await containers()
        const name = String(container?.Names[0]).slice(1)
        expect(runner.logged('FAIL  job container')?.msg).toContain(`docker rm -f ${name}`)
        await docker.getContainer(name).remove({ force: true })
      })

      test('by SIGKILL leaves a container that a later one removes, and no other', async () => {
        const { hold, socket } = await aHold(/\/wait$/)
        const runner = new RunnerProcess(settings({ DOCKER_HOST: `unix://${socket}` }), [
          'doctor',
          '--image',
          IMAGE,
        ])
        await until('a container at work', () => hold.held === 1)
        await runner.destroy()
        hold.release()
        const config = readConfig(settings())
        const mine = { docker, settings: { config, policy: readPolicy(null) }, hostStatePath: directory }
        await removeLeftovers({ ...mine, hostStatePath: `${directory}x` }, Date.now() + 700_000)
        await removeLeftovers(mine, Date.now())
        expect((await containers()).length).toBe(1)
        await removeLeftovers(mine, Date.now() + 700_000)
        expect(await containers()).toEqual([])
      })
    })

    test('is nobody’s session: a daemon of the same state directory neither reports nor removes it', async () => {
      const plane = await FakeControlPlane.start()
      closing.push(() => plane.stop())
      const env = { ...settingsFor(plane, directory, 'docker'), DOCKER_HOST: `unix://${ENGINE_SOCKET}` }
      const daemon = new RunnerProcess(env)
      closing.push(() => daemon.destroy())
      await until('a listing', () => plane.lastSync?.inventory === 'complete')
      const { hold, socket } = await aHold(/\/wait$/)
      const doctor = new RunnerProcess({ ...env, DOCKER_HOST: `unix://${socket}` }, [
        'doctor',
        '--image',
        IMAGE,
      ])
      await until('a container at work', () => hold.held === 1)
      const parts = { docker, installationId: 'doctor', formerInstallations: [], clock: systemClock }
      expect(await new SessionContainers(parts).list()).toEqual([])
      const from = plane.syncs.length
      await until('more syncs', () => plane.syncs.length > from + 2)
      expect(plane.syncs.flatMap(sync => sync.leases)).toEqual([])
      expect((await containers()).length).toBe(1)
      hold.release()
      expect(await doctor.ended()).toBe(0)
      expect(existsSync(join(directory, 'boot.json'))).toBe(true)
    })
  },
)
