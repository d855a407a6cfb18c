import { writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type WebSocket, WebSocketServer } from 'ws'
import { mintSecret } from '../../protocol/secrets.ts'
import { mintId } from '../../worker/ids.ts'
import { FakeAgent } from '../runner/support/fake-agent.ts'
import { newFolder } from '../support/folders.ts'
import { type Program, startProgram } from '../support/process.ts'
import { until } from '../support/until.ts'
import { differences, fill, listsOf, type Names, RECORDING, SAID, type Step } from './recording.ts'

/** The runner of this tree with a control plane of release 0.1.0, which answers as it once did. */

/** What that release refuses a call without; the rest it can do without, or did not know. */
const NEEDS: Readonly<Record<string, readonly string[]>> = {
  register: [
    'protocol',
    'pool_id',
    'registration_token',
    'name',
    'boot',
    'boot_id',
    'max_concurrency',
    'version',
    'platform',
  ],
  sync: ['protocol', 'boot', 'boot_id', 'seq', 'draining', 'inventory', 'slots', 'leases', 'acks'],
  artifacts: ['name', 'size', 'sha256'],
}
const LEASE_NEEDS = ['session_id', 'state'] as const

class RecordedControlPlane {
  readonly names: Names = new Map([
    ['pool', mintId('pool')],
    ['runner', mintId('runner')],
    ['token', mintSecret('registrationToken')],
    ['credential', mintSecret('runnerCredential')],
    ['upload', 'ab'.repeat(16)],
    ...[1, 2].flatMap(n => [
      [`session_${n}`, mintId('session')] as const,
      [`run_${n}`, mintId('run')] as const,
    ]),
    ...[1, 2, 3].map(n => [`command_${n}`, mintId('command')] as const),
  ])
  /** The recorded syncs whose replies are still to be given, those with an offer or a command. */
  readonly #open = RECORDING.filter(
    ({ reply }) => listsOf(reply).offers.length + listsOf(reply).commands.length > 0,
  )
  readonly lacking: string[] = []
  readonly calls: string[] = []
  readonly states: string[] = []
  readonly exits: unknown[] = []
  readonly acks: string[] = []
  readonly texts: string[] = []
  readonly frames: Buffer[] = []
  /** By the path of the call. */
  readonly logs = new Map<string, string>()
  /** Which of the recorded replies comes next, when the runner syncs. */
  due = 0
  readonly #server = createServer((request, response) => void this.#answer(request, response))
  readonly #sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false })

  async start(): Promise<this> {
    this.#server.on('upgrade', (request, socket, head) => {
      this.#sockets.handleUpgrade(request, socket, head, ws => this.#joined(request.url ?? '', ws))
    })
    await new Promise<void>(resolve => this.#server.listen(0, '127.0.0.1', resolve))
    return this
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  name(name: string): string {
    return this.names.get(name) ?? ''
  }

  ring(): void {
    for (const socket of this.#sockets.clients) socket.send(SAID.doorbell.ring)
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets.clients) socket.terminate()
    this.#server.closeAllConnections()
    await new Promise<void>(resolve => this.#server.close(() => resolve()))
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await buffer(request)
    const url = new URL(request.url ?? '', this.url)
    const step = RECORDING.find(one => {
      const recorded = new URL(fill(one.path, this.names), this.url)
      return one.method === request.method && recorded.pathname === url.pathname
    })
    if (step === undefined) return void response.writeHead(404).end()
    this.calls.push(step.call)
    const reply = typeof step.request === 'string' ? this.#bytes(step, url, body) : this.#json(step, body)
    response.writeHead(step.status, { 'content-type': 'application/json' })
    response.end(fill(JSON.stringify(reply), this.names))
  }

  #bytes({ call, reply }: Step, url: URL, body: Buffer): Step['reply'] {
    if (call !== 'logs') return reply
    const log = this.logs.get(url.pathname) ?? ''
    if (url.searchParams.get('offset') !== String(log.length)) this.lacking.push(`logs: ${url.search}`)
    this.logs.set(url.pathname, log + body.toString('utf8'))
    return { ...reply, length: log.length + body.length }
  }

  #json(step: Step, body: Buffer): Step['reply'] {
    const said: Record<string, unknown> = { ...JSON.parse(body.toString('utf8')) }
    const recorded: Record<string, unknown> = typeof step.request === 'string' ? {} : step.request
    for (const field of NEEDS[step.call] ?? []) {
      if (typeof said[field] !== typeof recorded[field]) this.lacking.push(`${step.call}: ${field}`)
    }
    if (step.call === 'register') {
      this.lacking.push(...differences('{token}', said.registration_token, this.names, 'registration_token'))
    }
    return step.call === 'sync' ? this.#sync(step.reply, listsOf(said)) : step.reply
  }

  /** Nothing in it but what release 0.1.0 always said. */
  #sync(idle: Step['reply'], { leases, acks }: ReturnType<typeof listsOf>): Step['reply'] {
    for (const lease of leases) {
      for (const field of LEASE_NEEDS)
        if (typeof lease[field] !== 'string') this.lacking.push(`lease: ${field}`)
      if (!this.states.includes(String(lease.state))) this.states.push(String(lease.state))
      if (lease.exit !== undefined) this.exits.push(lease.exit)
    }
    this.acks.push(...acks)
    const { offers, commands } = listsOf(this.#open[this.due]?.reply ?? {})
    const isListed = (id: string) => leases.some(lease => lease.session_id === fill(id, this.names))
    const open = commands.filter(({ id }) => !this.acks.includes(fill(id, this.names)))
    return {
      ...idle,
      next_sync_in_ms: 60_000,
      offers: offers.filter(offer => !isListed(offer.session_id)),
      commands: open.map(({ reason: _, ...command }) => command),
      leases: leases.map(({ session_id, state }) => ({
        session_id,
        verdict: state === 'exited' ? 'forget' : 'keep',
      })),
    }
  }

  #joined(url: string, socket: WebSocket): void {
    const isRelay = url.endsWith('/relay')
    if (isRelay) socket.send(SAID.demand)
    socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) this.frames.push(data)
      else if (String(data) === SAID.doorbell.ping) socket.send(SAID.doorbell.pong)
      else this.texts.push(String(data))
    })
  }
}

const controlPlane = new RecordedControlPlane()
const stateDir = newFolder('skew')
let runner: Program
beforeAll(async () => {
  await controlPlane.start()
  runner = startProgram('runner/main.ts', [], {
    CONTROL_PLANE_URL: controlPlane.url,
    RUNNER_POOL_ID: controlPlane.name('pool'),
    REGISTRATION_TOKEN: controlPlane.name('token'),
    RUNNER_NAME: 'recorded',
    RUNNER_STATE_DIR: stateDir,
    RUNNER_EXECUTOR: 'host',
    RUNNER_MIN_DISK_MB: '0',
    RUNNER_LABELS: 'zone=east',
  })
})
afterAll(async () => {
  await runner.end('SIGTERM')
  await controlPlane.stop()
})

/** The next recorded answer, brought to the runner by the doorbell. */
function next(): void {
  controlPlane.due += 1
  controlPlane.ring()
}

test('a control plane of release 0.1.0 is understood, and told everything it needs', async () => {
  const folder = path.join(stateDir, 'sessions', controlPlane.name('session_1'))
  await until('the session runs', () => controlPlane.states.includes('running'))
  const agent = await FakeAgent.listen(folder)
  next()
  await until('open_stream is done', () => controlPlane.acks.includes(controlPlane.name('command_1')))
  await agent.hearsDemand(1)
  agent.send(SAID.hello)
  agent.send(SAID.frame)
  await until('the frame arrives', () => controlPlane.frames[0])
  expect(controlPlane.frames[0]).toEqual(SAID.frame)
  expect(controlPlane.texts.map(text => JSON.parse(text))).toContainEqual(JSON.parse(SAID.hello))
  next()
  await until('close_stream is done', () => controlPlane.acks.includes(controlPlane.name('command_2')))
  await agent.close()
  writeFileSync(path.join(folder, 'artifacts', 'go'), '')
  await until('the end is reported', () => controlPlane.exits[0])
  await until('the artifacts are there', () => controlPlane.calls.includes('complete'))
  await until('the log is there', () => [...controlPlane.logs.values()].includes('hello\n'))
  expect(controlPlane.exits[0]).toMatchObject({ code: 3, reason: 'exited' })

  next()
  const cancelled = path.join(stateDir, 'sessions', controlPlane.name('session_2'))
  await until('the second session runs', () => runner.output().includes(path.basename(cancelled)))
  next()
  await until('stop_session is done', () => controlPlane.acks.includes(controlPlane.name('command_3')))
  await until('the second end is reported', () => controlPlane.exits.length > 1)
  expect(controlPlane.exits.at(-1)).toMatchObject({ reason: 'stopped' })
  expect(controlPlane.lacking).toEqual([])
})
