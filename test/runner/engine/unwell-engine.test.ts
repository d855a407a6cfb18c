import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../../runner/clock.ts'
import { DockerExecutor } from '../../../runner/executors/docker/docker-executor.ts'
import { EngineTimeout, readHostFacts, within } from '../../../runner/executors/docker/engine.ts'
import { Images } from '../../../runner/executors/docker/images.ts'
import { containerName, LABELS } from '../../../runner/executors/docker/template.ts'
import { readPolicy } from '../../../runner/policy.ts'
import { aJob, runId, sessionId } from '../support/factories.ts'
import { FakeEngine } from '../support/fake-engine.ts'
import { removeDirectory, temporaryDirectory, until } from '../support/runner-process.ts'

const [A, B] = [sessionId('a'), sessionId('b')]
const BROKEN = { status: 500, body: { message: 'layer store: input/output error' } }
const WELL_NETWORK = { Options: { 'com.docker.network.bridge.enable_icc': 'false' } }

let directory: string
let engine: FakeEngine
let executor: DockerExecutor

beforeEach(async () => {
  directory = temporaryDirectory()
  engine = new FakeEngine(join(directory, 'engine.sock'))
  await engine.open()
  executor = new DockerExecutor({
    docker: engine.docker,
    images: new Images(engine.docker, 'if_not_present', () => undefined),
    host: { engineId: 'e', engineVersion: '1', cpus: 1, memoryMb: 1024, swapLimit: true },
    policy: readPolicy(null),
    config: {
      RUNNER_LOG_CAP_MB: 256,
      RUNNER_JOB_HTTPS_PROXY: null,
      RUNNER_JOB_NO_PROXY: null,
      RUNNER_JOB_CA_FILE: null,
    },
    state: { createSessionFolder: async () => directory },
    hostSessionsPath: directory,
    installationId: 'i',
    formerInstallations: [],
    runnerId: () => 'r',
    runIdOf: () => runId('a'),
    clock: systemClock,
  })
})

afterEach(() => {
  engine.shut()
  removeDirectory(directory)
})

function row(id: string, change: object) {
  const Labels = { [LABELS.installation]: 'i', [LABELS.session]: id }
  return { Id: id, Names: [`/${containerName(id)}`], Labels, Created: 1_790_000_000, ...change }
}
function container(id: string, Status: string, ExitCode = 0) {
  const times = { StartedAt: '2026-11-23T00:00:00Z', FinishedAt: '0001-01-01T00:00:00Z' }
  return {
    Id: id,
    Name: `/${containerName(id)}`,
    Config: { Labels: { [LABELS.installation]: 'i', [LABELS.session]: id } },
    State: { Status, ExitCode, ...times },
  }
}

test('a wait that ends while the container runs is no success', async () => {
  engine.answer = path =>
    path.endsWith('/wait') ? { status: 200, body: {} } : { status: 200, body: container(A, 'running') }
  await expect(executor.wait(A, new AbortController().signal)).rejects.toThrow(/is running/)
})

describe('a container that ended by a signal that the runner did not send', () => {
  const engineError = (code: number, message: RegExp) => {
    return { code, reason: 'engine_error', message: expect.stringMatching(message) }
  }
  const restarted = (code: number) => engineError(code, /was restarted/)
  const killed = (code: number) => engineError(code, /killed the container/)
  const own = (code: number) => ({ code, reason: 'exited' })

  test.each([
    [137, [], restarted],
    [143, [], restarted],
    [255, [], restarted],
    [143, ['die'], own],
    [137, ['kill', 'die'], killed],
    [3, [], own],
    [143, null, own],
  ] as const)('exit %j and the events %j', async (code, events, exitOf) => {
    const exit = exitOf(code)
    engine.answer = path => {
      if (path.endsWith('/events')) {
        if (events === null) return BROKEN
        return { status: 200, body: events.map(Action => JSON.stringify({ Action })).join('\n') }
      }
      if (path === '/containers/json') {
        return { status: 200, body: [row(A, { State: 'exited', Status: `Exited (${code})` })] }
      }
      return { status: 200, body: path.endsWith('/wait') ? {} : container(A, 'exited', code) }
    }
    expect((await executor.wait(A, new AbortController().signal)).exit).toEqual(exit)
    expect(await executor.start(A, aJob())).toMatchObject({ type: 'exited', exit })
    expect(await executor.list()).toMatchObject([{ session_id: A, exit }])
  })
})

describe('a container that was killed by nobody that the Engine knows of', () => {
  const memoryAfter = (looks: number) => {
    let seen = 0
    engine.answer = path => {
      if (path.endsWith('/events')) return { status: 200, body: JSON.stringify({ Action: 'die' }) }
      if (path.endsWith('/wait')) return { status: 200, body: {} }
      const made = container(A, 'exited', 137)
      seen += 1
      return { status: 200, body: { ...made, State: { ...made.State, OOMKilled: seen > looks } } }
    }
  }
  const ended = async () => (await executor.wait(A, new AbortController().signal)).exit

  test('ran out of memory, also when the Engine hears of that after the end', async () => {
    memoryAfter(3)
    expect(await ended()).toMatchObject({ code: 137, reason: 'oom' })
  })
  test('is said to have exited when the Engine has not heard of it in time', async () => {
    memoryAfter(1000)
    expect(await ended()).toEqual({ code: 137, reason: 'exited' })
  })
})

describe('a call that is not answered', () => {
  test.each([
    ['list', (signal: AbortSignal) => executor.list(signal)],
    ['ready', (signal: AbortSignal) => executor.ready(signal)],
    ['the facts', (signal: AbortSignal) => readHostFacts(engine.docker, signal)],
  ])('%s: an abort ends it and its connection', async (_, call) => {
    engine.answer = () => 'hang'
    const abort = new AbortController()
    const asked = call(abort.signal)
    const ended = expect(asked).rejects.toThrow(/abort/i)
    await until('the call arrives', () => engine.calls.length > 0)
    abort.abort()
    await ended
    await until('no connection', () => engine.connections === 0)
  })

  test('a call that takes too long keeps no connection', async () => {
    engine.answer = () => 'hang'
    const call = within(engine.docker, docker => docker.getImage('x').inspect(), { timeoutMs: 50 })
    await expect(call).rejects.toThrow(EngineTimeout)
    await until('no connection', () => engine.connections === 0)
  })
})

describe('an Engine with a broken image store', () => {
  const hooks = { signal: new AbortController().signal, onPulling: () => undefined }
  const failed = { type: 'failed', exit: { reason: 'engine_error', message: BROKEN.body.message } }
  beforeEach(() => {
    engine.answer = () => BROKEN
  })
  test('fails what it cannot prepare', async () => {
    expect(await executor.prepare(A, aJob(), hooks)).toMatchObject(failed)
  })
  test('fails what it cannot create', async () => {
    expect(await executor.create(A, aJob())).toMatchObject(failed)
  })
  test('is asked again when it was not reached', async () => {
    engine.shut()
    await expect(executor.prepare(A, aJob(), hooks)).rejects.toThrow()
    await expect(executor.create(A, aJob())).rejects.toThrow()
  })
})

test.each([
  [{ State: 'running', Status: 'Up 2 minutes' }, { state: 'running' }],
  [{ State: 'created', Status: 'Created' }, { state: 'created' }],
  [
    { State: 'exited', Status: 'Exited (3) 1 minute ago' },
    { state: 'exited', exit: { code: 3 } },
  ],
  [
    { State: 'dead', Status: 'Dead' },
    { state: 'exited', exit: { code: null, reason: 'engine_error' } },
  ],
])('a container that cannot be inspected is listed by its row: %j', async (state, expected) => {
  engine.answer = path => {
    if (path.endsWith(`/${A}/json`)) return BROKEN
    if (path.endsWith(`/${B}/json`)) return { status: 200, body: container(B, 'running') }
    return { status: 200, body: [row(A, state), row(B, { State: 'running', Status: 'Up' })] }
  }
  const listed = new Map((await executor.list()).map(one => [one.session_id, one]))
  expect(listed.get(A)).toMatchObject(expected)
  expect(listed.get(B)).toMatchObject({ state: 'running', started_at: '2026-11-23T00:00:00Z' })
})

test.each([
  ['no container', false, 'image_gone'],
  ['the container of a create that was not answered', true, 'created'],
])('an image that goes just before the create leaves %s', async (_, isMade, type) => {
  engine.answer = path => {
    if (path.startsWith('/images/')) return { status: 200, body: { Id: 'sha256:1' } }
    if (path.startsWith('/networks/')) return { status: 200, body: WELL_NETWORK }
    if (path === '/containers/create') return { status: 404, body: { message: 'No such image: sha256:1' } }
    return isMade
      ? { status: 200, body: container(A, 'created') }
      : { status: 404, body: { message: 'No such container' } }
  }
  expect(await executor.create(A, aJob())).toEqual({ type })
})

test.each([
  ['nobody yet, because its create goes on, is asked for again', null, /already in use/],
  ['a foreign container is refused', 'foreign', 'failed'],
  ['the container of an earlier create is had', 'i', 'created'],
])('a name that is kept for %s', async (_, owner, outcome) => {
  engine.answer = path => {
    if (path.startsWith('/images/')) return { status: 200, body: { Id: 'sha256:1' } }
    if (path.startsWith('/networks/')) return { status: 200, body: WELL_NETWORK }
    if (path === '/containers/create') return { status: 409, body: { message: 'The name is already in use' } }
    if (owner === null) return { status: 404, body: { message: 'No such container' } }
    const made = container(A, 'created')
    return {
      status: 200,
      body: { ...made, Config: { Labels: { ...made.Config.Labels, [LABELS.installation]: owner } } },
    }
  }
  const created = executor.create(A, aJob())
  if (outcome instanceof RegExp) await expect(created).rejects.toThrow(outcome)
  else expect(await created).toMatchObject({ type: outcome })
})

test('a network that was cleaned away is there again before the container is made', async () => {
  let network = false
  engine.answer = path => {
    if (path.startsWith('/images/')) return { status: 200, body: { Id: 'sha256:1' } }
    if (path === '/networks/create') network = true
    if (path.startsWith('/networks/certyn') && !network) return { status: 404, body: { message: 'no' } }
    if (path.startsWith('/networks/')) return { status: 200, body: WELL_NETWORK }
    return { status: 201, body: { Id: 'x' } }
  }
  expect(await executor.create(A, aJob())).toEqual({ type: 'created' })
  expect(engine.calls.indexOf('POST /networks/create')).toBeLessThan(
    engine.calls.indexOf('POST /containers/create'),
  )
  expect(network).toBe(true)
})
