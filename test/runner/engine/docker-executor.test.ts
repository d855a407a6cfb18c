import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../../runner/clock.ts'
import { DockerExecutor } from '../../../runner/executors/docker/docker-executor.ts'
import { readHostFacts } from '../../../runner/executors/docker/engine.ts'
import { Images } from '../../../runner/executors/docker/images.ts'
import { containerName, LABELS } from '../../../runner/executors/docker/template.ts'
import { readPolicy } from '../../../runner/policy.ts'
import { StateDirectory } from '../../../runner/state/state-directory.ts'
import {
  buildTestImage,
  docker,
  engineMissing,
  IMAGE,
  removeContainersOf,
  VOLUME_IMAGE,
} from '../support/engine.ts'
import { aJob, runId, uniqueSessionId } from '../support/factories.ts'
import { removeDirectory, temporaryDirectory } from '../support/runner-process.ts'

const missing = await engineMissing()

describe.skipIf(missing !== null)(
  `the docker executor${missing === null ? '' : ` (skipped: ${missing})`}`,
  () => {
    const installation = `test-${process.pid}-${Date.now()}`
    let directory: string
    let state: StateDirectory
    let executor: DockerExecutor

    beforeAll(async () => {
      buildTestImage()
      directory = temporaryDirectory()
      state = await StateDirectory.open(directory)
      writeFileSync(join(directory, 'ca-private.pem'), 'a certificate', { mode: 0o600 })
      executor = new DockerExecutor({
        docker,
        images: new Images(docker, 'never', () => undefined),
        host: await readHostFacts(docker),
        policy: readPolicy(null),
        config: {
          RUNNER_LOG_CAP_MB: 256,
          RUNNER_JOB_HTTPS_PROXY: 'http://proxy.test:3128',
          RUNNER_JOB_NO_PROXY: null,
          RUNNER_JOB_CA_FILE: join(directory, 'ca-private.pem'),
        },
        state,
        hostSessionsPath: join(directory, 'sessions'),
        installationId: installation,
        formerInstallations: [],
        runnerId: () => 'rnr_test',
        runIdOf: () => runId('a'),
        clock: systemClock,
      })
      await executor.ready()
    })

    afterAll(async () => {
      if (missing !== null) return
      await removeContainersOf(installation)
      state.release()
      removeDirectory(directory)
    })

    function job(script: string) {
      return aJob({ image: IMAGE, command: ['sh', '-c', script] })
    }
    async function inspect(id: string) {
      return docker.getContainer(containerName(id)).inspect()
    }
    async function ran(id: string, script: string): Promise<void> {
      await executor.create(id, job(script))
      await executor.start(id, job(script))
      await executor.wait(id, new AbortController().signal)
    }

    test('what has run is never started again', async () => {
      const id = uniqueSessionId()
      await ran(id, 'exit 3')
      const { StartedAt } = (await inspect(id)).State
      expect(await executor.start(id, job('exit 3'))).toMatchObject({ type: 'exited', exit: { code: 3 } })
      expect((await inspect(id)).State.StartedAt).toBe(StartedAt)
    })

    test('creating twice makes one container', async () => {
      const id = uniqueSessionId()
      expect(await executor.create(id, job('true'))).toEqual({ type: 'created' })
      const { Id } = await inspect(id)
      expect(await executor.create(id, job('true'))).toEqual({ type: 'created' })
      expect((await inspect(id)).Id).toBe(Id)
    })

    test('a container that is not as the template says is removed and never started', async () => {
      const id = uniqueSessionId()
      await docker.createContainer({
        name: containerName(id),
        Image: IMAGE,
        Cmd: ['sleep', '600'],
        User: '1000:1000',
        Labels: { [LABELS.installation]: installation, [LABELS.runner]: 'rnr_test', [LABELS.session]: id },
        HostConfig: { Privileged: true },
      })
      const started = await executor.start(id, job('true'))
      expect(started).toMatchObject({ type: 'failed', container: false, exit: { reason: 'engine_error' } })
      expect(started).toMatchObject({ exit: { message: expect.stringMatching(/Privileged/) } })
      await expect(inspect(id)).rejects.toMatchObject({ statusCode: 404 })
    })

    test('a stranger’s container with a session’s name is neither signalled nor removed', async () => {
      const id = uniqueSessionId()
      const stranger = await docker.createContainer({
        name: containerName(id),
        Image: IMAGE,
        Cmd: ['sleep', '600'],
      })
      try {
        await stranger.start()
        expect(await executor.signal(id, 'SIGKILL')).toEqual({ type: 'not_running', container: false })
        await executor.remove(id)
        expect((await stranger.inspect()).State.Running).toBe(true)
        expect(await executor.create(id, job('true'))).toMatchObject({
          type: 'failed',
          exit: { reason: 'engine_error' },
        })
      } finally {
        await stranger.remove({ force: true })
      }
    })

    test('a stop before the start leaves nothing that could start, a stop after the end does no harm', async () => {
      const id = uniqueSessionId()
      expect(await executor.signal(id, 'SIGTERM')).toEqual({ type: 'not_running', container: false })
      await executor.create(id, job('true'))
      expect(await executor.signal(id, 'SIGTERM')).toEqual({ type: 'not_running', container: false })
      await expect(inspect(id)).rejects.toMatchObject({ statusCode: 404 })
      await executor.create(id, job('true'))
      await executor.start(id, job('true'))
      await executor.wait(id, new AbortController().signal)
      expect(await executor.signal(id, 'SIGTERM')).toEqual({ type: 'signalled' })
    })

    test('the job’s user can read the certificates that were put beside it', async () => {
      const id = uniqueSessionId()
      const script = '[ "$(cat /certyn/ca.pem)" = "a certificate" ] || exit 9'
      await ran(id, script)
      expect(await executor.start(id, job(script))).toMatchObject({ exit: { code: 0 } })
    })

    test('a volume that the image declares is memory, not a part of the host’s disk', async () => {
      const id = uniqueSessionId()
      const script = 'touch /data/x && busybox grep -q "^tmpfs /data " /proc/mounts'
      const wanted = { ...job(script), image: VOLUME_IMAGE }
      await executor.create(id, wanted)
      await executor.start(id, wanted)
      const ended = await executor.wait(id, new AbortController().signal)
      expect(ended.exit).toEqual({ code: 0, reason: 'exited' })
      expect((await inspect(id)).Mounts.map(({ Type }) => Type)).toEqual(['bind'])
    })

    test('building the test image again leaves the one there is', async () => {
      const { Id } = await docker.getImage(IMAGE).inspect()
      buildTestImage()
      expect((await docker.getImage(IMAGE).inspect()).Id).toBe(Id)
    })

    test('a listing shows what was created, runs and has ended', async () => {
      const [made, runs, ended] = [uniqueSessionId(), uniqueSessionId(), uniqueSessionId()]
      await executor.create(made, job('true'))
      await executor.create(runs, job('exec sleep 600'))
      await executor.start(runs, job('exec sleep 600'))
      await ran(ended, 'exit 9')
      const listed = new Map((await executor.list()).map(one => [one.session_id, one]))
      expect(listed.get(made)?.state).toBe('created')
      expect(listed.get(runs)).toMatchObject({ state: 'running', started_at: expect.any(String) })
      expect(listed.get(ended)).toMatchObject({ state: 'exited', exit: { code: 9, reason: 'exited' } })
      await executor.remove(runs)
    })

    test('removing is done once and asking again is no error', async () => {
      const id = uniqueSessionId()
      await ran(id, 'true')
      await executor.remove(id)
      await executor.remove(id)
      await expect(inspect(id)).rejects.toMatchObject({ statusCode: 404 })
    })
  },
)
