import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { mintSecret } from '../../protocol/secrets.ts'
import { encodeFrame, type InputEvent } from '../../protocol/stream.ts'
import { backoffMs } from '../../runner/api/backoff.ts'
import { sleep } from '../../runner/clock.ts'
import { Membership } from '../../runner/daemon/runner-identity.ts'
import { StreamLoop } from '../../runner/daemon/stream-loop.ts'
import type { Log } from '../../runner/log.ts'
import * as agentLine from '../../runner/relay/agent-line.ts'
import { NewestFrame } from '../../runner/relay/newest-frame.ts'
import { Publisher } from '../../runner/relay/publisher.ts'
import { ReadPace } from '../../runner/relay/read-pace.ts'
import * as relayLine from '../../runner/relay/relay-line.ts'
import { connectStreamSocket } from '../../runner/relay/stream-socket.ts'
import { StreamWishes } from '../../runner/relay/stream-wishes.ts'
import { NO_METRICS } from '../../runner/telemetry/instruments.ts'
import { sessionId } from './support/factories.ts'
import { FakeAgent } from './support/fake-agent.ts'
import { POOL, RUNNER } from './support/fake-control-plane.ts'
import { FakeRelay } from './support/fake-relay.ts'
import { removeDirectory, temporaryDirectory, until } from './support/runner-process.ts'

/** The runner's part of a live view, between a real unix socket and a real websocket, both with fakes behind them. */

const SESSION = sessionId('1')
const MOVE: InputEvent = {
  kind: 'mouse',
  action: 'move',
  x: 1,
  y: 2,
  button: 'none',
  buttons: 0,
  click_count: 0,
  modifiers: 0,
}
const LARGE = 64 * 1024
/** Nobody is left behind by a test that fails. */
const LISTENER_LIMIT_MS = 60_000

let folder: string
let relay: FakeRelay
let lines: { level: string; fields: Record<string, unknown>; message: string }[]
let credential: string
let publishing: { stop: AbortController; ended: Promise<void> }[]

beforeEach(async () => {
  folder = temporaryDirectory()
  relay = await FakeRelay.start()
  lines = []
  publishing = []
  credential = mintSecret('runnerCredential')
})
afterEach(async () => {
  for (const { stop } of publishing) stop.abort()
  await Promise.all(publishing.map(({ ended }) => ended))
  relay.stop()
  removeDirectory(folder)
})

function aLog(bound: Record<string, unknown> = {}): Log {
  const at = (level: string) => (fields: unknown, message?: string) => {
    const own = typeof fields === 'object' ? fields : {}
    lines.push({ level, fields: { ...bound, ...own }, message: message ?? String(fields) })
  }
  const child = (more: Record<string, unknown>) => aLog({ ...bound, ...more })
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    fatal: at('fatal'),
    child,
  } as Log
}

function membership(): Membership {
  const stored = {
    control_plane: relay.url.href,
    pool_id: POOL,
    runner_id: RUNNER,
    name: 'runner',
    engine_id: 'engine',
    credential,
    token_hash: null,
    obtained_at_ms: 0,
  }
  return new Membership({ storeCredential: async () => undefined }, stored)
}

const config = () => ({ CONTROL_PLANE_URL: relay.url, HTTPS_PROXY: null, NO_PROXY: null })

function publish(allowControlInput = true): { stop: AbortController; ended: Promise<void> } {
  const stop = new AbortController()
  const publisher = new Publisher({
    config: config(),
    membership: membership(),
    sessionId: SESSION,
    folder,
    log: aLog(),
    metrics: NO_METRICS,
    allowControlInput,
    onOpen: () => undefined,
  })
  const running = { stop, ended: publisher.run(stop.signal) }
  publishing.push(running)
  return running
}

/** Both lines are there, and somebody watches. */
async function watched(allowControlInput = true): Promise<FakeAgent> {
  const agent = await FakeAgent.listen(folder)
  publish(allowControlInput)
  await until('the relay is dialled', () => relay.lines === 1)
  await agent.hearsDemand(0)
  relay.demand(1)
  await agent.hearsDemand(1)
  return agent
}

const frames = (count: number) => until(`${count} frames`, () => relay.frames.length >= count)

describe('a publisher', () => {
  test('passes on nothing that nobody watches, and says the page’s size before the first frame', async () => {
    const agent = await FakeAgent.listen(folder)
    publish()
    await until('the relay is dialled', () => relay.lines === 1)
    expect(relay.requests[0]?.url).toBe(
      `/runner/v1/pools/${POOL}/runners/${RUNNER}/sessions/${SESSION}/relay`,
    )
    expect(relay.requests[0]?.headers.authorization).toBe(`Bearer ${credential}`)
    await agent.hearsDemand(0)
    agent.hello(800, 600)
    agent.frame(1)
    await agent.isRead()
    relay.demand(1, true)
    expect(await agent.hearsDemand(1)).toMatchObject({ refresh: true })
    agent.frame(2)
    await frames(1)
    expect(relay.texts).toEqual([{ type: 'hello', width: 800, height: 600 }])
    agent.heard.length = 0
    relay.demand(0)
    await agent.hearsDemand(0)
    for (const seq of [3, 4, 5]) agent.frame(seq)
    await agent.isRead()
    relay.demand(1)
    await agent.hearsDemand(1)
    agent.frame(6)
    await frames(2)
    expect(relay.frames).toEqual([2, 6])
    await agent.close()
  })

  test('dials again when the relay is gone: the agent rests meanwhile, and the size is said again', async () => {
    const agent = await watched()
    agent.hello(800, 600)
    agent.frame(1)
    await frames(1)
    agent.heard.length = 0
    relay.break()
    await agent.hearsDemand(0)
    await until('it is dialled again', () => relay.lines === 2)
    await until('the size is said again', () => relay.texts.length === 2)
    relay.demand(2, true)
    await agent.hearsDemand(2)
    agent.frame(7)
    await frames(2)
    expect(relay.frames).toEqual([1, 7])
    await agent.close()
  })

  test('tells an agent that comes back what is wanted, and asks it for a picture', async () => {
    const first = await watched()
    await first.close()
    const second = await FakeAgent.listen(folder)
    expect(await second.hearsDemand(1)).toMatchObject({ refresh: true })
    second.frame(0)
    await frames(1)
    expect(relay.lines).toBe(1)
    await second.close()
  })

  test('drops a line on which nothing is answered, and dials again', async () => {
    relay.answersPings = false
    publish()
    await until('it is dialled again', () => relay.lines === 2)
    expect(lines.map(({ fields }) => fields.reason)).toContain('no pong in time')
  })

  test.each(['reading', 'pongs'] as const)(
    'has two frames on the line when the relay holds back its %s, then sends only the newest',
    async what => {
      const agent = await watched()
      relay.hold(what)
      const last = 100
      for (let seq = 1; seq <= last; seq++) agent.frame(seq, LARGE)
      await agent.isRead()
      if (what === 'pongs') await frames(2)
      expect(relay.frames).toEqual(what === 'pongs' ? [1, 2] : [])
      relay.release()
      await until('the newest frame', () => relay.frames.includes(last))
      expect(relay.frames.slice(0, 2)).toEqual([1, 2])
      // What a socket's buffer still held when the line was free again.
      const unread = Math.ceil((512 * 1024) / LARGE)
      expect(relay.frames[2]).toBeGreaterThan(last - unread)
      expect(relay.frames.length).toBeLessThan(3 + unread)
      await agent.close()
    },
  )

  test.each([
    ['a closed stream', (stop: AbortController) => stop.abort()],
    ['a replaced one', () => relay.close(4409)],
    ['an ended session', () => relay.close(4410)],
  ])('is done with %s: nothing more is sent, nothing dialled', async (_what, end) => {
    const agent = await watched()
    agent.frame(1)
    await frames(1)
    const [running] = publishing
    if (running === undefined) throw new Error('nothing is published')
    end(running.stop)
    await running.ended
    agent.frame(2)
    await sleep(1_200)
    expect([relay.lines, relay.frames]).toEqual([1, [1]])
    await agent.close()
  })

  test.each([1001, 1011, 4413])('dials again after %i', async code => {
    const agent = await watched()
    relay.close(code)
    await until('it is dialled again', () => relay.lines === 2)
    await agent.close()
  })

  test('is done when its session is refused with 409, and dials on after any other refusal', async () => {
    relay.refuses = 503
    const { ended } = publish()
    await until('it is dialled again', () => relay.requests.length >= 3)
    relay.refuses = 409
    await ended
    expect(relay.lines).toBe(0)
  })

  test.each([
    [true, ['demand', 'demand', 'input', 'demand']],
    [false, ['demand', 'demand', 'demand']],
  ])('passes input on where the policy file says %s', async (allowed, types) => {
    const agent = await watched(allowed)
    relay.input(MOVE)
    relay.demand(3)
    await agent.hearsDemand(3)
    expect(agent.heard.map(({ type }) => type)).toEqual(types)
    await agent.close()
  })
})

describe('what an agent sends', () => {
  const good = encodeFrame({ seq: 1, capturedAtMs: 1, image: new Uint8Array(8) })
  test.each<[string, string | Uint8Array, number]>([
    ['a frame of an unknown type', good.with(0, 9), 1003],
    ['a frame without an image', good.slice(0, 13), 1003],
    ['a frame larger than the limit', new Uint8Array(2 * 1024 * 1024 + 1).fill(1), 1009],
    ['text that is none of the protocol', 'picture', 1002],
    ['a hello of impossible size', '{"type":"hello","width":0,"height":1}', 1002],
    ['a demand', '{"type":"demand","viewers":1,"max_fps":1,"refresh":true}', 1002],
  ])(
    'is not passed on when it is %s: it is told why; the next good frame is',
    async (_what, message, code) => {
      const agent = await watched()
      agent.send(message)
      agent.frame(4)
      await until('it is connected anew', () => agent.connections === 2)
      expect(agent.closes.map(close => close.code)).toEqual([code])
      if (code < 1009) expect(agent.closes[0]?.reason).toMatch(/^it sent .* of the stream protocol$/)
      agent.frame(5)
      await frames(1)
      // All that the relay hears of it is what the viewers are told.
      expect([relay.frames, relay.texts, relay.lines]).toEqual([
        [5],
        [{ type: 'blank', cause: 'agent_broken' }],
        1,
      ])
      expect(
        lines.filter(({ level }) => level === 'warn').map(({ fields, message }) => [message, fields.hint]),
      ).toEqual([['the agent gives no live picture', expect.stringContaining('docs/agent-images.md')]])
      await agent.close()
    },
  )

  test.each([
    ['no websocket', 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n'],
    ['no HTTP', 'SSH-2.0-OpenSSH_9.9\r\n'],
  ])('is looked at less and less often when it is %s, and viewers are told', async (_what, answer) => {
    let connections = 0
    const server = createServer(socket => {
      connections += 1
      socket.on('error', () => undefined)
      socket.on('data', () => socket.end(answer))
    }).listen(join(folder, 'stream.sock'))
    publish()
    await until('viewers are told', () => relay.texts.length > 0)
    expect(relay.texts).toEqual([{ type: 'blank', cause: 'agent_broken' }])
    // Room for a dozen looks at the pace at which one looks for an agent that begins to listen.
    await sleep(3_200)
    expect(connections).toBeLessThanOrEqual(5)
    await new Promise(resolve => server.close(resolve))
    expect(lines.filter(({ level }) => level === 'warn')).toHaveLength(1)
  })

  test('wrongly makes the looks at it rarer, up to ten seconds apart', () => {
    expect([0, 1, 2, 3, 6, 7, 100].map(agentLine.lookAgainMs)).toEqual([
      250, 250, 500, 1_000, 8_000, 10_000, 10_000,
    ])
  })

  test('of why there is no picture is passed on as something else where only a later release knows it', async () => {
    const agent = await watched()
    for (const cause of ['page_crashed', 'a_later_cause']) {
      agent.frame(1)
      await until('the picture is there', () => relay.types.at(-1) === 'frame')
      agent.send(JSON.stringify({ type: 'blank', cause }))
      await until('that there is none is passed on', () => relay.types.at(-1) === 'blank')
    }
    expect(relay.texts).toEqual([
      { type: 'blank', cause: 'page_crashed' },
      { type: 'blank', cause: 'other' },
    ])
    expect([agent.connections, relay.lines]).toEqual([1, 1])
    await agent.close()
  })

  test('of a picture that comes and goes all the time is told about once a second, and at last as it is', async () => {
    const agent = await watched()
    const blanks = () => relay.types.filter(type => type === 'blank').length
    const blank = JSON.stringify({ type: 'blank', cause: 'no_browser' })
    const began = Date.now()
    for (let seq = 1; seq <= 100; seq++) {
      agent.frame(seq)
      await until('the frame has come', () => relay.frames.includes(seq))
      agent.send(blank)
    }
    const seconds = Math.ceil((Date.now() - began) / 1_000)
    await until('it is told that there is none', () => relay.types.at(-1) === 'blank')
    expect(blanks()).toBeLessThanOrEqual(seconds + 1)
    agent.frame(101)
    await frames(101)
    agent.send(blank)
    agent.frame(102)
    await frames(102)
    // Longer than it would be held back.
    await sleep(1_500)
    expect(relay.types.at(-1)).toBe('frame')
    await agent.close()
  })

  test('of the page’s size is said once a frame, however often it is said here', async () => {
    const agent = await watched()
    for (let size = 1; size <= 100; size++) agent.hello(size, 1)
    agent.frame(1)
    await frames(1)
    expect(relay.texts).toEqual([{ type: 'hello', width: 100, height: 1 }])
    await agent.close()
  })

  test.each([
    ['messages', 120, 1],
    ['bytes', 32, 2 * 1024 * 1024],
  ])('is read up to a number of %s a second', (_what, most, bytes) => {
    vi.useFakeTimers()
    let paused = false
    const pace = new ReadPace({ pause: () => (paused = true), resume: () => (paused = false) })
    for (let second = 0; second < 2; second++) {
      for (let count = 0; count < most; count++) pace.count(bytes)
      expect(paused).toBe(false)
      pace.count(bytes)
      expect(paused).toBe(true)
      vi.advanceTimersByTime(1_000)
      expect(paused).toBe(false)
    }
    pace.stop()
    expect(vi.getTimerCount()).toBe(0)
    vi.useRealTimers()
  })
})

describe('what a job plants as stream.sock', () => {
  let elsewhere: string
  let engine: Server
  let reached: number
  beforeEach(async () => {
    elsewhere = temporaryDirectory()
    reached = 0
    engine = createServer(socket => {
      reached += 1
      socket.destroy()
    })
    await new Promise<void>(resolve => engine.listen(join(elsewhere, 'docker.sock'), () => resolve()))
    writeFileSync(join(elsewhere, 'credential.json'), '{}')
  })
  afterEach(async () => {
    await new Promise(resolve => engine.close(resolve))
    removeDirectory(elsewhere)
  })

  test.each<[string, (path: string) => void]>([
    ['a link to the Engine’s socket', path => symlinkSync(join(elsewhere, 'docker.sock'), path)],
    ['a link to the credential', path => symlinkSync(join(elsewhere, 'credential.json'), path)],
    ['a link to nothing', path => symlinkSync(join(elsewhere, 'nothing'), path)],
    ['a FIFO', path => void execFileSync('mkfifo', [path])],
    ['a directory', path => mkdirSync(path)],
    ['a file', path => writeFileSync(path, 'HTTP/1.1 101 Switching Protocols\r\n\r\n')],
  ])('is not connected to when it is %s, which is said once', async (_what, plant) => {
    const path = join(folder, 'stream.sock')
    plant(path)
    publish()
    await until('it is said', () => lines.some(({ level }) => level === 'warn'))
    // Time for several looks.
    await sleep(600)
    const said = lines.filter(({ level }) => level === 'warn')
    expect(said.map(({ fields }) => fields.reason)).toEqual([
      `${path} is not a socket: nothing is read through it`,
    ])
    expect(reached).toBe(0)
    rmSync(path, { recursive: true })
    const agent = await FakeAgent.listen(folder)
    await agent.hearsDemand(0)
    await agent.close()
  })

  test('is followed by no name in between either: the folder is the session’s own', async () => {
    symlinkSync(join(elsewhere, 'docker.sock'), join(folder, 'other'))
    symlinkSync('other', join(folder, 'stream.sock'))
    publish()
    await until('it is said', () => lines.some(({ level }) => level === 'warn'))
    expect(reached).toBe(0)
  })
})

describe('a job that listens and accepts nobody', () => {
  /** Its own process, whose end closes the socket with the connection still waiting. */
  async function listener(): Promise<ChildProcess> {
    const program = `
      const path = ${JSON.stringify(join(folder, 'stream.sock'))}
      require('node:fs').rmSync(path, { force: true })
      require('node:net').createServer().listen(path)
      require('node:fs').writeSync(1, '.')
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${LISTENER_LIMIT_MS})
    `
    const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(child.stdout, 'data')
    return child
  }

  test('and ends before anybody has heard of the connection, breaks that connection only', async () => {
    const job = await listener()
    const line = await connectStreamSocket(folder)
    expect(line).not.toBeNull()
    // Not `once`, which would hear the error too: here nobody but the line itself does.
    const withError = new Promise(resolve => line?.on('close', resolve))
    job.kill('SIGKILL')
    expect(await withError).toBe(true)
  })

  test('and ends again and again, leaves the live view to whoever listens next', async () => {
    publish()
    for (let times = 0; times < 3; times++) {
      const job = await listener()
      // Time for a look.
      await sleep(300)
      job.kill('SIGKILL')
      await once(job, 'close')
    }
    rmSync(join(folder, 'stream.sock'))
    const agent = await FakeAgent.listen(folder)
    await agent.hearsDemand(0)
    await agent.close()
  })
})

test('a socket is reached under a path longer than the address of one may be', async () => {
  folder = join(folder, 'a'.repeat(100), 'b'.repeat(100))
  mkdirSync(folder, { recursive: true })
  const agent = await watched()
  agent.frame(1)
  await frames(1)
  await agent.close()
})

describe('the stream loop', () => {
  test('opens a line on open_stream and closes it on close_stream, acknowledges both and logs them with ids', async () => {
    const streams = new StreamWishes()
    const session = { phase: { at: 'running' }, entry: { run_id: 'run_1' } }
    const loop = new StreamLoop({
      config: config() as never,
      policy: { allow_control_input: true },
      state: { sessionFolder: () => folder },
      membership: membership(),
      ledger: { session: () => session as never, streams },
      log: aLog(),
      metrics: NO_METRICS,
      onChange: () => undefined,
    })
    const stop = new AbortController()
    const running = loop.run(stop.signal)
    publishing.push({ stop, ended: running })
    const open = { id: 'cmd_1', type: 'open_stream', session_id: SESSION } as const
    const close = { id: 'cmd_2', type: 'close_stream', session_id: SESSION } as const
    expect(streams.holds(close)).toBe(true)
    streams.apply([open])
    expect(streams.holds(open)).toBe(false)
    loop.wake()
    await until('it holds', () => streams.holds(open))
    streams.apply([close])
    loop.wake()
    await until('it holds', () => streams.holds(close))
    await until('the line is closed', () => relay.closes.length === 1)
    const ids = { session_id: SESSION, run_id: 'run_1', runner_id: RUNNER }
    const said = lines.map(({ fields, message }) => [message, fields])
    for (const message of [
      'open_stream: connecting to the relay',
      'relay connected',
      'the line to the relay is closed',
    ]) {
      expect(said).toContainEqual([message, expect.objectContaining(ids)])
    }
  })
})

describe('a picture is back within three seconds of what kept it away:', () => {
  const BACK_MS = 3_000

  test('no attempt of the line to the relay and the pause after it cost more, however many failed', () => {
    const longest = backoffMs(1_000, relayLine.REDIAL_FLOOR_MS, () => 1, relayLine.REDIAL_CAP_MS)
    expect(relayLine.HANDSHAKE_TIMEOUT_MS + longest).toBeLessThanOrEqual(BACK_MS)
  })

  test('nor one of the line to the agent', () => {
    expect(agentLine.HANDSHAKE_TIMEOUT_MS + agentLine.LOOK_AGAIN_MS).toBeLessThanOrEqual(BACK_MS)
  })

  test('nor the pause of the viewer’s page', () => {
    const page = readFileSync(new URL('../../dashboard/live/connection.ts', import.meta.url), 'utf8')
    const cap = /^const RETRY_CAP_MS = ([\d_]+)$/m.exec(page)?.[1]
    expect(Number(cap?.replaceAll('_', ''))).toBeLessThanOrEqual(BACK_MS)
    expect(page).toContain('Math.random() * Math.min(RETRY_CAP_MS, ')
  })
})

describe('the pipe', () => {
  test('holds two frames at most, has two on the line at most, and starts afresh on another line', () => {
    const sent: { seq: number; left: () => void; arrived: () => void }[] = []
    const pipe = new NewestFrame((frame, left, arrived) => sent.push({ seq: frame[0] ?? -1, left, arrived }))
    const push = (seq: number) => {
      pipe.push(new Uint8Array([seq]))
      expect(pipe.held).toBeLessThanOrEqual(2)
    }
    const seqs = () => sent.map(({ seq }) => seq)
    for (const seq of [1, 2, 3]) push(seq)
    expect(seqs()).toEqual([1])
    sent[0]?.left()
    for (const seq of [4, 5]) push(seq)
    expect(seqs()).toEqual([1, 3])
    sent[1]?.left()
    expect(seqs()).toEqual([1, 3])
    sent[0]?.arrived()
    expect(seqs()).toEqual([1, 3, 5])
    push(6)
    pipe.clear()
    push(7)
    expect(seqs()).toEqual([1, 3, 5, 7])
    // What was on its way on the former line gives no room on this one.
    for (const one of sent.slice(0, 3)) {
      one.left()
      one.arrived()
    }
    push(8)
    expect(seqs()).toEqual([1, 3, 5, 7])
    pipe.drop()
    sent[3]?.left()
    expect(seqs()).toEqual([1, 3, 5, 7])
  })
})
