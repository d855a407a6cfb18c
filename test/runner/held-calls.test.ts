import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ContainerEngine } from './support/container-engine.ts'
import { anOffer, sessionId } from './support/factories.ts'
import { FakeEngine } from './support/fake-engine.ts'
import { removeDirectory, temporaryDirectory, until } from './support/runner-process.ts'
import { SessionHost } from './support/session-host.ts'

/** Calls that an Engine does not answer, and the end of their sessions, which does not wait for them. */

const A = sessionId('a')
const HOST = { engineId: 'e', engineVersion: '1', cpus: 1, memoryMb: 1024, swapLimit: true }
/** Far less than what a call that nobody gives up would take to fail by itself. */
const GIVEN_UP_MS = 20_000

let directory: string
let server: FakeEngine
let engine: ContainerEngine
let host: SessionHost

beforeEach(async () => {
  directory = temporaryDirectory()
  server = new FakeEngine(join(directory, 'engine.sock'))
  engine = new ContainerEngine(server)
  await server.open()
  const settings = { docker: server.docker, installationId: 'i', stopGraceMs: 0, host: HOST }
  host = await SessionHost.start(settings)
})

afterEach(async () => {
  await host.stop()
  server.shut()
  removeDirectory(directory)
})

function calls(kind: RegExp): number {
  return server.calls.filter(call => kind.test(call)).length
}
const START = /^POST \/containers\/\w+\/start$/
const KILL = /^POST \/containers\/\w+\/kill$/
const REMOVE = /^DELETE /

/** @param apply what the Engine does about the start, of which it says nothing */
async function holdStart(apply: () => void): Promise<void> {
  engine.before = path => {
    if (!path.endsWith('/start')) return null
    apply()
    return 'hang'
  }
  host.reply({ offers: [anOffer('a')] })
  await until('the start', () => calls(START) === 1)
}
function run(): void {
  for (const container of engine.containers.values()) engine.run(container)
}
async function isAtRest(): Promise<void> {
  await until('nothing is left', () => {
    host.reply()
    host.lookAgain()
    return host.ledger.isEmpty() && engine.containers.size === 0
  })
}
async function endsAtOnce(): Promise<void> {
  const began = performance.now()
  host.end(A)
  await until('the end', () => host.report(A)?.state === 'exited')
  expect(performance.now() - began).toBeLessThan(GIVEN_UP_MS)
  expect(host.report(A)?.exit?.reason).toBe('stopped')
}

test('a start that the Engine keeps to itself is given up, and its connection with it', async () => {
  await holdStart(() => undefined)
  await endsAtOnce()
  expect(calls(REMOVE)).toBe(1)
  expect(calls(START)).toBe(1)
  await isAtRest()
  await until('no connection', () => server.connections === 0)
})

test('a container that runs although its start was never answered is killed', async () => {
  await holdStart(run)
  await endsAtOnce()
  expect(calls(KILL)).toBeGreaterThan(0)
  await isAtRest()
})

test('one that turns up running after its end is killed and removed, and what was reported stands', async () => {
  await holdStart(() => undefined)
  const [late] = engine.containers.values()
  await endsAtOnce()
  if (late !== undefined) engine.run(late)
  host.lookAgain()
  await until('the kill', () => calls(KILL) > 0)
  expect(host.report(A)?.exit).toMatchObject({ code: null, reason: 'stopped' })
  await isAtRest()
})

test('a SIGKILL does not wait for a SIGTERM that is not answered', async () => {
  engine.before = (path, _method, { query }) =>
    path.endsWith('/kill') && query.get('signal') === 'SIGTERM' ? 'hang' : null
  await host.stop()
  const settings = { docker: server.docker, installationId: 'i', stopGraceMs: 500, host: HOST }
  host = await SessionHost.start(settings)
  host.reply({ offers: [anOffer('a')] })
  await until('it runs', () => host.report(A)?.state === 'running')
  await endsAtOnce()
  expect(calls(KILL)).toBeGreaterThan(1)
  await isAtRest()
})
