import { once } from 'node:events'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { ViewerTicket } from '../../protocol/live.ts'
import { STREAM_SUBPROTOCOL, TICKET_SUBPROTOCOL_PREFIX } from '../../protocol/stream.ts'
import { ControlPlane, type Tenant } from '../support/control-plane.ts'
import { until } from '../support/until.ts'
import { differences, fill, listsOf, type Names, RECORDING, SAID, type Step } from './recording.ts'

/** The control plane of this tree with a runner of release 0.1.0, which says what it once said. */
const controlPlane = new ControlPlane({
  Features__SelfHostedRelayEnabled: 'true',
  SelfHosted__LeaseTtlSeconds: '45',
})
let tenant: Tenant
beforeAll(async () => {
  await controlPlane.start()
  tenant = await controlPlane.tenant()
})
afterAll(() => controlPlane.stop())

const RETRY_CEILING_MS = 20_000

class RecordedRunner {
  readonly names: Names = new Map()
  readonly runs: string[] = []
  readonly heard: string[] = []
  readonly frames: Buffer[] = []
  readonly #sockets: WebSocket[] = []
  #viewer: WebSocket | null = null
  #publisher: WebSocket | null = null
  #doorbell: WebSocket | null = null
  #seq = 0

  /** What made the control plane answer as it did then: somebody started a run, watched, left, cancelled. */
  async before({ request, reply }: Step): Promise<void> {
    const acked = listsOf(request).acks
    if (acked.includes('{command_1}') && this.frames.length === 0) await this.#publish()
    if (acked.includes('{command_2}')) this.#publisher?.close()
    for (const { run_id, job } of listsOf(reply).offers) {
      if (this.names.has(run_id.slice(1, -1))) continue
      const { image, command, env, stream } = job
      const { id } = await tenant.run({ image, command, env, stream, labels: { zone: 'east' } })
      this.runs.push(id)
    }
    for (const { id, type } of listsOf(reply).commands) {
      if (this.names.has(id.slice(1, -1))) continue
      if (type === 'open_stream') await this.#watch()
      if (type === 'close_stream') this.#viewer?.close()
      if (type === 'stop_session') await tenant.cancel(this.runs.at(-1) ?? '')
    }
  }

  async say(step: Step): Promise<void> {
    // Asynchronous on the other side: what was an answer then may be the next one now.
    let seen: string[] = []
    await until(
      `${step.call} is answered as it was`,
      async () => {
        seen = await this.#call(step)
        if (seen.length > 0 && step.call !== 'sync') throw new Error(seen.join('\n'))
        return seen.length === 0
      },
      RETRY_CEILING_MS,
    ).catch(error => {
      throw new Error(`${error.message}:\n${seen.join('\n')}`)
    })
    if (step.call === 'register') await this.#listen()
  }

  close(): void {
    for (const socket of this.#sockets) socket.terminate()
  }

  async rung(): Promise<void> {
    this.#doorbell?.send(SAID.doorbell.ping)
    await until('pong and ring', () => ['pong', 'ring'].every(word => this.heard.includes(word)))
  }

  async #call({ call, method, path, request, status, reply }: Step): Promise<string[]> {
    if (call === 'sync') this.#seq += 1
    const body = typeof request === 'string' ? request : this.#json(request, call)
    const response = await fetch(`${controlPlane.url}${fill(path, this.names)}`, {
      method,
      headers: {
        'content-type': typeof request === 'string' ? 'application/octet-stream' : 'application/json',
        ...(call !== 'register' && { authorization: `Bearer ${this.names.get('credential')}` }),
      },
      body,
    })
    const text = await response.text()
    if (response.status !== status) return [`${response.status} in place of ${status}: ${text}`]
    return differences(reply, JSON.parse(text), this.names)
  }

  #json(request: object, call: string): string {
    return fill(JSON.stringify({ ...request, ...(call === 'sync' && { seq: this.#seq }) }), this.names)
  }

  async #listen(): Promise<void> {
    this.#doorbell = await this.#dial('doorbell', text => this.heard.push(text))
  }

  async #watch(): Promise<void> {
    const path = `/runs/${this.runs.at(-1)}/viewer-tickets`
    const { url, ticket } = await tenant.api.post(path, { mode: 'view' }, ViewerTicket)
    const protocols = [STREAM_SUBPROTOCOL, `${TICKET_SUBPROTOCOL_PREFIX}${ticket}`]
    this.#viewer = new WebSocket(url, protocols, { perMessageDeflate: false })
    this.#sockets.push(this.#viewer)
    this.#viewer.on('message', (data: Buffer, isBinary) => isBinary && this.frames.push(data))
    await once(this.#viewer, 'open')
  }

  async #publish(): Promise<void> {
    const demands: string[] = []
    const call = `sessions/${this.names.get('session_1')}/relay`
    const publisher = await this.#dial(call, text => demands.push(text))
    this.#publisher = publisher
    await until('a demand', () => demands[0])
    expect(differences(JSON.parse(SAID.demand), JSON.parse(demands[0] ?? ''), this.names)).toEqual([])
    publisher.send(SAID.hello)
    publisher.send(SAID.frame)
    await until('the frame arrives', () => this.frames[0])
    expect(this.frames[0]).toEqual(SAID.frame)
  }

  /** @param hear is there before the first word can come */
  async #dial(call: string, hear: (text: string) => void): Promise<WebSocket> {
    const path = fill(`/runner/v1/pools/{pool}/runners/{runner}/${call}`, this.names)
    const headers = { authorization: `Bearer ${this.names.get('credential')}` }
    const url = `${controlPlane.url.replace('http', 'ws')}${path}`
    const socket = new WebSocket(url, { headers, perMessageDeflate: false })
    this.#sockets.push(socket)
    socket.on('message', data => hear(String(data)))
    await once(socket, 'open')
    return socket
  }
}

test('a runner of release 0.1.0 is answered in the words it knows, from its registration to its leaving', async () => {
  const runner = new RecordedRunner()
  try {
    runner.names.set('pool', tenant.poolId).set('token', await tenant.token())
    for (const step of RECORDING) {
      await runner.before(step)
      await runner.say(step)
    }
    await runner.rung()
  } finally {
    runner.close()
  }
  const [watched = '', cancelled = ''] = runner.runs
  expect(await tenant.get(watched)).toMatchObject({
    status: 'failed',
    exit_code: 3,
    failure: { domain: 'test', code: 'non_zero_exit' },
  })
  expect(await tenant.get(cancelled)).toMatchObject({ status: 'cancelled', exit_code: 143 })
  expect(await (await tenant.api.fetch(`/runs/${watched}/logs`)).text()).toBe('hello\n')
  expect(await (await tenant.api.fetch(`/runs/${watched}/artifacts/kept.txt`)).text()).toBe('kept')
  expect(await tenant.runners()).toEqual([
    expect.objectContaining({ name: 'recorded', version: '0.1.0', protocol: 1, labels: { zone: 'east' } }),
  ])
})
