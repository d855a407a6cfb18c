import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openEngine } from '../../../runner/executors/docker/engine.ts'
import { containerName } from '../../../runner/executors/docker/template.ts'
import {
  buildTestImage,
  containersOf,
  docker,
  ENGINE_SOCKET,
  engineMissing,
  IMAGE,
  removeContainersOf,
} from '../support/engine.ts'
import { EngineProxy, Hold } from '../support/engine-proxy.ts'
import { aJob, anOffer, uniqueSessionId } from '../support/factories.ts'
import { removeDirectory, temporaryDirectory, until } from '../support/runner-process.ts'
import { SessionHost } from '../support/session-host.ts'

const missing = await engineMissing()
/** Far less than what a call that nobody gives up would take to fail by itself. */
const GIVEN_UP_MS = 20_000
const START = /\/containers\/[0-9a-f]+\/start$/
const CREATE = /\/containers\/create$/

describe.skipIf(missing !== null)(
  `an Engine that holds a call${missing === null ? '' : ` (skipped: ${missing})`}`,
  () => {
    let directory: string
    let installationId: string
    let proxy: EngineProxy
    let host: SessionHost
    let id: string
    let hold: Hold

    beforeAll(buildTestImage)

    beforeEach(async () => {
      directory = temporaryDirectory()
      installationId = `test-${process.pid}-${Date.now()}`
      id = uniqueSessionId()
      proxy = new EngineProxy(join(directory, 'engine.sock'), ENGINE_SOCKET)
      await proxy.open()
    })

    afterEach(async () => {
      hold.release()
      await host.stop()
      proxy.shut()
      await removeContainersOf(installationId)
      removeDirectory(directory)
    })

    /** @param how where calls of a kind are held, from the offer on */
    async function offer(script: string, stopGraceMs: number, how: 'onRequest' | 'onReply', what: Hold) {
      hold = what
      proxy[how] = call => hold.on(call)
      host = await SessionHost.start({ docker: openEngine(proxy.path), installationId, stopGraceMs })
      const job = aJob({ image: IMAGE, command: ['sh', '-c', script] })
      host.reply({ offers: [anOffer('a', { session_id: id, job })] })
      await until('a call that is held', () => hold.held === 1)
    }
    async function stateOf(): Promise<string | null> {
      try {
        return (await docker.getContainer(containerName(id)).inspect()).State.Status
      } catch {
        return null
      }
    }
    async function isAtRest(): Promise<void> {
      await until('nothing is left', async () => {
        host.reply()
        host.lookAgain()
        return host.ledger.isEmpty() && (await containersOf(installationId)).length === 0
      })
    }
    async function ended(): Promise<void> {
      const began = performance.now()
      await until('the end', () => host.report(id)?.state === 'exited')
      expect(performance.now() - began).toBeLessThan(GIVEN_UP_MS)
      expect(hold.passed).toBe(0)
    }

    test('a start whose reply does not come does not keep its container from being killed', async () => {
      await offer('trap "" TERM; while :; do sleep 1; done', 0, 'onReply', new Hold('POST', START))
      expect(await stateOf()).toBe('running')
      host.end(id)
      await ended()
      expect(host.report(id)?.exit).toMatchObject({ code: 137, reason: 'stopped' })
      await isAtRest()
    })

    test('a start whose reply does not come keeps a SIGTERM waiting for a moment only', async () => {
      const script = 'trap "exit 7" TERM; while :; do sleep 0.1; done'
      await offer(script, 60_000, 'onReply', new Hold('POST', START))
      host.end(id)
      await ended()
      expect(host.report(id)?.exit).toMatchObject({ code: 7, reason: 'stopped' })
      await isAtRest()
    })

    test('a start that reaches the Engine after the end starts nothing', async () => {
      await offer('exec sleep 600', 0, 'onRequest', new Hold('POST', START))
      expect(await stateOf()).toBe('created')
      host.end(id)
      await ended()
      expect(await stateOf()).toBeNull()
      hold.release()
      await until('the late start', () => hold.passed === 1)
      await isAtRest()
    })

    test('a create that reaches the Engine after the end makes a container that is removed unstarted', async () => {
      await offer('exec sleep 600', 0, 'onRequest', new Hold('POST', CREATE))
      host.end(id)
      await ended()
      expect(host.report(id)?.exit).toMatchObject({ code: null, reason: 'stopped' })
      const starts: string[] = []
      proxy.onRequest = async call => {
        if (START.test(call.path)) starts.push(call.path)
      }
      hold.release()
      await until('the late container', async () => (await stateOf()) === 'created')
      await isAtRest()
      expect(starts).toEqual([])
    })

    test('a create that reaches the Engine when all is forgotten leaves nothing', async () => {
      await offer('exec sleep 600', 0, 'onRequest', new Hold('POST', CREATE))
      host.end(id)
      await ended()
      host.reply()
      await until('it is forgotten', () => host.ledger.isEmpty())
      let isAnswered = false
      proxy.onReply = async call => {
        isAnswered ||= CREATE.test(call.path)
      }
      hold.release()
      await until('the late create', () => isAnswered)
      await isAtRest()
    })
  },
)
