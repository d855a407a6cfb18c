import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { installationId } from '../../../runner/daemon/runner-identity.ts'
import { readHostFacts } from '../../../runner/executors/docker/engine.ts'
import { containerName, LABELS } from '../../../runner/executors/docker/template.ts'
import {
  buildTestImage,
  containersOf,
  docker,
  ENGINE_SOCKET,
  engineMissing,
  IMAGE,
  removeContainersOf,
  USERNS_IMAGE,
} from '../support/engine.ts'
import { EngineGate } from '../support/engine-gate.ts'
import { EngineProxy } from '../support/engine-proxy.ts'
import { aJob, anOffer, aStop, uniqueSessionId } from '../support/factories.ts'
import { FakeControlPlane, POOL } from '../support/fake-control-plane.ts'
import { type ImageRegistry, startImageRegistry } from '../support/image-registry.ts'
import {
  RunnerProcess,
  removeDirectory,
  settingsFor,
  temporaryDirectory,
  until,
} from '../support/runner-process.ts'

const missing = await engineMissing()

describe.skipIf(missing !== null)(
  `on a real Engine${missing === null ? '' : ` (skipped: ${missing})`}`,
  () => {
    let plane: FakeControlPlane
    let directory: string
    let settings: ReturnType<typeof settingsFor>
    let installation: string
    let otherName: string
    let otherInstallation: string
    let runners: RunnerProcess[]
    /** Session ids of this process alone: container names are one space per Engine. */
    let letters: Map<string, string>

    beforeAll(buildTestImage)

    beforeEach(async () => {
      plane = await FakeControlPlane.start()
      directory = temporaryDirectory()
      settings = settingsFor(plane, directory, 'docker')
      const { engineId } = await readHostFacts(docker)
      installation = installationId(POOL, settings.RUNNER_NAME, engineId)
      otherName = `${settings.RUNNER_NAME}-other`
      otherInstallation = installationId(POOL, otherName, engineId)
      runners = []
      letters = new Map()
    })

    afterEach(async () => {
      for (const runner of runners) await runner.destroy()
      for (const one of [installation, otherInstallation]) await removeContainersOf(one)
      await plane.stop()
      removeDirectory(directory)
    })

    function id(letter: string): string {
      const known = letters.get(letter) ?? uniqueSessionId()
      letters.set(letter, known)
      return known
    }
    function start(change: Readonly<Record<string, string>> = {}): RunnerProcess {
      const runner = new RunnerProcess({ ...settings, ...change })
      runners.push(runner)
      return runner
    }
    async function ready(): Promise<void> {
      await until('a runner that takes work', () => plane.lastSync?.inventory === 'complete')
    }
    function offer(letter: string, script: string, change: Parameters<typeof aJob>[0] = {}): void {
      const job = aJob({ image: IMAGE, command: ['sh', '-c', script], ...change })
      plane.offer(anOffer(letter, { session_id: id(letter), job }))
    }
    async function running(letter: string): Promise<void> {
      await until(`session ${letter} runs`, () => plane.lease(id(letter))?.state === 'running')
    }
    async function endOf(letter: string) {
      await until(`session ${letter} has ended`, () => plane.exits.has(id(letter)))
      return plane.exits.get(id(letter))
    }
    async function exitOf(letter: string) {
      return (await endOf(letter))?.exit
    }
    async function run(script: string, change: Parameters<typeof aJob>[0] = {}, env = {}) {
      start(env)
      await ready()
      offer('a', script, change)
      return exitOf('a')
    }

    test('success: the image’s digest is recorded and no container is left', async () => {
      expect(await run('exit 0')).toEqual({ code: 0, reason: 'exited' })
      expect((await endOf('a'))?.image_digest).toMatch(/^sha256:/)
      await until('no container', async () => (await containersOf(installation)).length === 0)
    })

    test('a non-zero exit keeps its code', async () => {
      expect(await run('exit 42')).toEqual({ code: 42, reason: 'exited' })
    })

    test('a run that takes too long is terminated and named so', async () => {
      expect(await run('exec sleep 600', { timeout_seconds: 1 })).toMatchObject({ reason: 'timed_out' })
    })

    test('an image that ignores SIGTERM is killed after the grace', async () => {
      start()
      await ready()
      offer('a', 'trap "" TERM; while :; do sleep 1; done')
      await running('a')
      plane.command(aStop('a', { session_id: id('a') }))
      expect(await exitOf('a')).toMatchObject({ code: 137, reason: 'stopped' })
    })

    test('running out of memory is named so', async () => {
      // tail must hold the whole of a line that never ends.
      const exit = await run('tail /dev/zero', { resources: { memory_mb: 32 } })
      expect(exit).toMatchObject({ code: 137, reason: 'oom' })
    })

    test('a child killed for memory beside a job that succeeds is a notice', async () => {
      expect(await run('tail /dev/zero; exit 0', { resources: { memory_mb: 32 } })).toMatchObject({ code: 0 })
      expect((await endOf('a'))?.notices).toContain('memory_pressure')
    })

    test('a command that is not in the image is named so', async () => {
      expect(await run('', { command: ['/no/such/program'] })).toMatchObject({
        code: 127,
        reason: 'command_not_found',
      })
    })

    test('an image that is absent under pull policy never is not found', async () => {
      const exit = await run('true', { image: 'certyn-test/absent:1' }, { RUNNER_PULL_POLICY: 'never' })
      expect(exit).toMatchObject({ code: null, reason: 'image_not_found' })
    })

    test.each([
      ['image_not_found', 404, 'MANIFEST_UNKNOWN', 'manifest unknown'],
      ['image_auth', 401, 'UNAUTHORIZED', 'authentication required'],
      ['pull_failed', 500, 'UNKNOWN', 'internal error'],
    ])('a registry that answers so gives %s', async (reason, status, code, message) => {
      const registry = await startRegistry(status, code, message)
      try {
        const { port } = registry.address() as AddressInfo
        expect(await run('true', { image: `127.0.0.1:${port}/team/agent:1` })).toMatchObject({ reason })
      } finally {
        registry.close()
        registry.closeAllConnections()
      }
    })

    test('a registry that is down for a moment is asked again before the attempt fails', async () => {
      const registry = await startRegistry(404, 'MANIFEST_UNKNOWN', 'manifest unknown', 2)
      try {
        const { port } = registry.address() as AddressInfo
        const exit = await run('true', { image: `127.0.0.1:${port}/team/agent:1` })
        expect(exit).toMatchObject({ reason: 'image_not_found' })
      } finally {
        registry.close()
        registry.closeAllConnections()
      }
    })

    test('a registry that cannot be reached is the network’s fault', async () => {
      expect(await run('true', { image: '127.0.0.1:1/team/agent:1' })).toMatchObject({
        reason: 'network_unreachable',
      })
    })

    test('the policy file of this host has the last word', async () => {
      const file = join(directory, 'policy.json')
      writeFileSync(file, JSON.stringify({ allowed_images: ['registry.example/*'] }))
      expect(await run('true', {}, { RUNNER_POLICY_FILE: file })).toMatchObject({
        code: null,
        reason: 'policy_denied',
      })
    })

    test('a job sees its folder, its variables, a user that is not root, and can write nowhere else', async () => {
      const script = `
      [ "$(id -u)" = 1000 ] || exit 10
      [ "$HOME" = /tmp ] || exit 11
      touch /root-is-writable 2>/dev/null && exit 12
      touch /tmp/x /run/x /home/x /certyn/artifacts/x || exit 13
      [ -e /var/run/docker.sock ] && exit 14
      [ "$CERTYN_ARTIFACTS_DIR" = /certyn/artifacts ] || exit 15
      grep() { busybox grep "$@"; }
      grep -q "CapEff:.0000000000000000" /proc/self/status || exit 16
      grep -q "NoNewPrivs:.1" /proc/self/status || exit 17
      exit 0`
      expect(await run(script)).toMatchObject({ code: 0 })
    })

    test('the container is made by the template', async () => {
      start()
      await ready()
      offer('a', 'exec sleep 600')
      await running('a')
      const made = await docker.getContainer(containerName(id('a'))).inspect()
      expect(made.HostConfig).toMatchObject({
        CapDrop: ['ALL'],
        Privileged: false,
        ReadonlyRootfs: true,
        SecurityOpt: ['no-new-privileges:true'],
        PidsLimit: 512,
        Memory: 2048 * 1024 * 1024,
        NanoCpus: 1e9,
        IpcMode: 'private',
        ShmSize: 512 * 1024 * 1024,
        NetworkMode: 'certyn-jobs',
        PidMode: '',
        UTSMode: '',
        UsernsMode: '',
        Init: true,
        AutoRemove: false,
        OomScoreAdj: 500,
        PublishAllPorts: false,
      })
      expect(made.HostConfig.RestartPolicy?.Name).toBe('no')
      expect(made.Mounts.map(({ Type, Destination }) => `${Type} ${Destination}`)).toEqual(['bind /certyn'])
      expect(made.Config.User).toBe('1000:1000')
      expect(made.Config.Labels).toMatchObject({
        [LABELS.installation]: installation,
        [LABELS.session]: id('a'),
      })
      const network = await docker.getNetwork('certyn-jobs').inspect()
      expect(network.Options?.['com.docker.network.bridge.enable_icc']).toBe('false')
    })

    test('a user namespace is refused to a job, and given where the image asks and the policy allows', async () => {
      const file = join(directory, 'policy.json')
      writeFileSync(file, JSON.stringify({ allow_userns_seccomp: true }))
      start({ RUNNER_POLICY_FILE: file, MAX_CONCURRENCY: '2' })
      await ready()
      const command = 'busybox unshare -U true'
      offer('a', command)
      offer('b', command, { image: USERNS_IMAGE })
      expect(await exitOf('a')).toMatchObject({ code: 1 })
      expect(await exitOf('b')).toMatchObject({ code: 0 })
    })

    test('a container outlives a killed daemon, is adopted, and its result is reported once', async () => {
      const first = start()
      await ready()
      offer('a', 'while [ ! -e /certyn/go ]; do sleep 1; done; exit 6')
      await running('a')
      const { Id } = await docker.getContainer(containerName(id('a'))).inspect()
      await first.destroy()
      start()
      await until('the adoption', () => plane.lease(id('a'))?.notices?.includes('adopted'))
      expect((await docker.getContainer(containerName(id('a'))).inspect()).Id).toBe(Id)
      writeFileSync(join(directory, 'sessions', id('a'), 'go'), '')
      expect(await exitOf('a')).toMatchObject({ code: 6, reason: 'exited' })
      await until('no container', async () => (await containersOf(installation)).length === 0)
    })

    test('an Engine that goes away is said, nothing new is asked for, and its sessions go on when it is back', async () => {
      const gate = new EngineGate(join(directory, 'engine.sock'), ENGINE_SOCKET)
      await gate.open()
      try {
        const runner = start({ DOCKER_HOST: `unix://${gate.path}`, MAX_CONCURRENCY: '2' })
        await ready()
        offer('a', 'while [ ! -e /certyn/go ]; do sleep 1; done; exit 8')
        await running('a')
        gate.shut()
        await until('it says so', () => plane.lastSync?.inventory === 'unknown')
        expect(plane.lastSync?.draining).toBe(true)
        expect(plane.lease(id('a'))?.state).toBe('running')
        expect(runner.logged('Docker Engine cannot be asked')).toMatchObject({ level: 'error' })
        writeFileSync(join(directory, 'sessions', id('a'), 'go'), '')
        await gate.open()
        expect(await exitOf('a')).toMatchObject({ code: 8, reason: 'exited' })
        await until('it says that all is well', () => runner.logged('can be listed again') !== undefined)
        offer('b', 'exit 0')
        expect(await exitOf('b')).toMatchObject({ code: 0 })
      } finally {
        gate.shut()
      }
    })

    test('a daemon that starts before its Engine says what to check and waits', async () => {
      const gate = new EngineGate(join(directory, 'engine.sock'), ENGINE_SOCKET)
      const runner = start({ DOCKER_HOST: `unix://${gate.path}` })
      await until('it says so', () => runner.logged('no Docker Engine at'))
      expect(runner.logged('no Docker Engine at')?.remedy).toMatch(/socket is mounted/)
      await gate.open()
      try {
        await ready()
      } finally {
        gate.shut()
      }
    })

    test('after the state directory was wiped its containers are still found, listed and ended', async () => {
      const first = start()
      await ready()
      offer('a', 'exec sleep 600')
      await running('a')
      await first.destroy()
      rmSync(directory, { recursive: true, force: true })
      mkdirSync(directory)
      await plane.stop()
      plane = await FakeControlPlane.start()
      start({ CONTROL_PLANE_URL: plane.url, REGISTRATION_TOKEN: plane.token })
      await until('it is listed', () => plane.lease(id('a')) !== undefined)
      await until('no container', async () => (await containersOf(installation)).length === 0)
    })

    test('of fifty look-alikes none is touched', async () => {
      const lookAlikes = await createLookAlikes(installation)
      try {
        const before = await idsOf(lookAlikes)
        start()
        await ready()
        offer('a', 'true')
        await exitOf('a')
        await until('our own is removed', async () => (await findByName(containerName(id('a')))) === null)
        expect(await idsOf(lookAlikes)).toEqual(before)
        expect(plane.syncs.flatMap(sync => sync.leases).every(lease => lease.session_id === id('a'))).toBe(
          true,
        )
      } finally {
        await removeAll(lookAlikes)
      }
    })

    test('what a job hides deeper than any path is counted, and removed with its folder', async () => {
      const name = 'd'.repeat(100)
      const script = `cd /certyn; n=0
        while [ $n -lt 60 ]; do busybox mkdir ${name} && cd -P ${name} || exit 9; n=$((n + 1)); done
        dd if=/dev/zero of=hidden bs=1024 count=4096 && exec sleep 600`
      const exit = await run(script, {}, { RUNNER_SESSION_DISK_MB: '2' })
      expect(exit).toMatchObject({ reason: 'disk_full' })
      await until('the folder is gone', () => !existsSync(join(directory, 'sessions', id('a'))))
    })

    describe('an image that is cleaned away', () => {
      let registry: ImageRegistry
      let proxy: EngineProxy

      beforeEach(async () => {
        registry = await startImageRegistry()
        proxy = new EngineProxy(join(directory, 'proxy.sock'), ENGINE_SOCKET)
        await proxy.open()
      })
      afterEach(async () => {
        await dropImage()
        registry.close()
        proxy.shut()
      })
      async function dropImage(): Promise<void> {
        await docker
          .getImage(registry.image)
          .remove({ force: true })
          .catch(() => undefined)
      }
      /** @param when as the Engine is asked for the container, or once it has made it; so many `times` */
      function dropAt(when: 'onRequest' | 'onReply', times: number): void {
        let left = times
        proxy[when] = async ({ method, path }) => {
          if (method !== 'POST' || !path.endsWith('/containers/create') || left === 0) return
          left -= 1
          await dropImage()
        }
      }
      async function runIt(env: Readonly<Record<string, string>> = {}) {
        return run('exit 0', { image: registry.image }, { DOCKER_HOST: `unix://${proxy.path}`, ...env })
      }

      test('before its container is made is pulled again', async () => {
        dropAt('onRequest', 1)
        expect(await runIt()).toEqual({ code: 0, reason: 'exited' })
        expect(registry.pulls()).toBeGreaterThan(1)
      })

      test('before its container is made is not found where nothing is ever pulled', async () => {
        await docker.createImage({ fromImage: registry.image }).then(finished)
        dropAt('onRequest', 1)
        expect(await runIt({ RUNNER_PULL_POLICY: 'never' })).toMatchObject({
          code: null,
          reason: 'image_not_found',
        })
      })

      test('each time before its container is made is this host’s trouble', async () => {
        dropAt('onRequest', 100)
        expect(await runIt()).toMatchObject({
          code: null,
          reason: 'engine_error',
          message: expect.stringMatching(/image was removed/),
        })
      })

      test('between its container and the start is said, and nothing is started unseen', async () => {
        dropAt('onReply', 1)
        expect(await runIt()).toMatchObject({
          code: null,
          reason: 'engine_error',
          message: expect.stringMatching(/image was removed from this host before/),
        })
        await until('no container', async () => (await containersOf(installation)).length === 0)
      })
    })

    describe('renamed', () => {
      async function leaveRunning(): Promise<void> {
        const first = start()
        await ready()
        offer('a', 'while [ ! -e /certyn/go ]; do sleep 1; done; exit 6')
        await running('a')
        const seen = plane.syncs.length
        await until('its confirmation', () => plane.syncs.length > seen + 1)
        await first.destroy()
      }

      test('a runner ends and removes what it left under its former name, and nothing of anybody else’s', async () => {
        const lookAlikes = await createLookAlikes(installation)
        try {
          const before = await idsOf(lookAlikes)
          await leaveRunning()
          plane.allowAnotherRegistration()
          const boot = plane.lastSync?.boot ?? 0
          const again = start({ RUNNER_NAME: otherName })
          await until('it is removed', async () => (await findByName(containerName(id('a')))) === null)
          await until('nothing is remembered', () => !existsSync(join(directory, 'sessions', id('a'))))
          expect(again.logged('sessions of the former runner')).toMatchObject({ level: 'warn' })
          expect(await idsOf(lookAlikes)).toEqual(before)
          const since = plane.syncs.filter(sync => sync.boot > boot)
          expect(since.flatMap(sync => sync.leases)).toEqual([])
          offer('b', 'exit 0')
          expect(await exitOf('b')).toMatchObject({ code: 0 })
        } finally {
          await removeAll(lookAlikes)
        }
      })

      test('a runner that is not let in ends it when its lease ends', async () => {
        await leaveRunning()
        plane.registerFaults = Array.from({ length: 100 }, () => ({ refuse: 'token_used_up' }) as const)
        const again = start({ RUNNER_NAME: otherName })
        await until('the refusal', () => again.logged('token_used_up'))
        await until('it is removed', async () => (await findByName(containerName(id('a')))) === null)
      })

      test('a runner that is given its name back in time goes on with it', async () => {
        plane.reply = { next_sync_in_ms: 500, lease_ttl_ms: 600_000 }
        await leaveRunning()
        plane.registerFaults = Array.from({ length: 100 }, () => ({ refuse: 'token_used_up' }) as const)
        const renamed = start({ RUNNER_NAME: otherName })
        await until('the refusal', () => renamed.logged('token_used_up'))
        await renamed.destroy()
        start()
        await until('the adoption', () => plane.lease(id('a'))?.notices?.includes('adopted'))
        writeFileSync(join(directory, 'sessions', id('a'), 'go'), '')
        expect(await exitOf('a')).toMatchObject({ code: 6, reason: 'exited' })
      })
    })

    test('what was left on another Engine is said, with where to look for it', async () => {
      const first = start()
      await ready()
      await first.destroy()
      const file = join(directory, 'credential.json')
      const stored = JSON.parse(readFileSync(file, 'utf8'))
      writeFileSync(file, JSON.stringify({ ...stored, engine_id: 'elsewhere' }))
      plane.allowAnotherRegistration()
      const again = start()
      await until('the line', () => again.logged('another Docker Engine'))
      expect(again.logged('another Docker Engine')).toMatchObject({
        level: 'error',
        former_engine_id: 'elsewhere',
        remedy: expect.stringContaining(installationId(POOL, settings.RUNNER_NAME, 'elsewhere')),
      })
    })

    test('two sessions run side by side in two slots, a third waits its turn', async () => {
      start({ MAX_CONCURRENCY: '2' })
      await ready()
      for (const letter of ['a', 'b', 'c']) offer(letter, 'sleep 1')
      for (const letter of ['a', 'b', 'c']) expect(await exitOf(letter)).toMatchObject({ code: 0 })
      const most = Math.max(
        ...plane.syncs.map(sync => sync.leases.filter(one => one.state !== 'exited').length),
      )
      expect(most).toBe(2)
    })

    test('a link that the job plants in its folder is not followed when the folder goes', async () => {
      const outside = join(directory, 'precious')
      mkdirSync(outside)
      writeFileSync(join(outside, 'file'), 'x')
      await run(`busybox ln -s ${outside} /certyn/artifacts/link`)
      await until('the folder is gone', () => !existsSync(join(directory, 'sessions', id('a'))))
      expect(lstatSync(join(outside, 'file')).isFile()).toBe(true)
    })
  },
)

/** Resolves when a pull is done. */
async function finished(stream: NodeJS.ReadableStream): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    docker.modem.followProgress(stream, error => (error === null ? resolve() : reject(error)))
  })
}

/** Every registry call gets the same refusal. */
/** @param unwell how many requests it answers with 503 before it says what it has to say */
async function startRegistry(status: number, code: string, message: string, unwell = 0): Promise<Server> {
  let asked = 0
  const server = createServer((request, response) => {
    const isVersionCheck = request.url === '/v2/'
    if (!isVersionCheck && asked++ < unwell) return response.writeHead(503).end()
    response
      .writeHead(isVersionCheck && status !== 401 ? 200 : status, { 'content-type': 'application/json' })
      .end(isVersionCheck && status !== 401 ? '{}' : JSON.stringify({ errors: [{ code, message }] }))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return server
}

/** Each differs from ours in exactly one of label, installation and name. */
async function createLookAlikes(installation: string): Promise<string[]> {
  const names: string[] = []
  for (let i = 0; i < 50; i++) {
    const session = uniqueSessionId()
    const foreign = installation.replace(/./, first => (first === '0' ? '1' : '0'))
    const [name, labels] = [
      [`certyn-${session}`, { [LABELS.installation]: foreign, [LABELS.session]: session }],
      [`certyn-${session}`, {}],
      [`certyn-${session}`, { [LABELS.session]: session }],
      [`certyn-${session}-x`, { [LABELS.installation]: installation, [LABELS.session]: session }],
      [`x-certyn-${session}`, { [LABELS.installation]: installation, [LABELS.session]: session }],
    ][i % 5] as [string, Record<string, string>]
    await docker.createContainer({ name, Image: IMAGE, Cmd: ['true'], Labels: labels })
    names.push(name)
  }
  return names
}

async function idsOf(names: readonly string[]): Promise<(string | null)[]> {
  return Promise.all(names.map(findByName))
}

async function removeAll(names: readonly string[]): Promise<void> {
  for (const name of names) {
    await docker
      .getContainer(name)
      .remove({ force: true })
      .catch(() => undefined)
  }
}

async function findByName(name: string): Promise<string | null> {
  try {
    return (await docker.getContainer(name).inspect()).Id
  } catch {
    return null
  }
}
