import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { ViewerTicket } from '../../protocol/live.ts'
import { STREAM_SUBPROTOCOL, TICKET_SUBPROTOCOL_PREFIX, ToViewer } from '../../protocol/stream.ts'
import { FakeAgent } from '../runner/support/fake-agent.ts'
import { ControlPlane, type Tenant } from '../support/control-plane.ts'
import { Network } from '../support/network.ts'
import { Daemon } from '../support/runner.ts'
import { until } from '../support/until.ts'

/** A live view from a session's socket through a real runner and a real relay to a viewer, and what may happen to it. */

const controlPlane = new ControlPlane({ Features__SelfHostedRelayEnabled: 'true' })
let network: Network
let tenant: Tenant
let daemon: Daemon

beforeAll(async () => {
  await controlPlane.start()
  network = await Network.to(controlPlane.url)
  tenant = await controlPlane.tenant()
  const env = { CONTROL_PLANE_URL: network.url, RUNNER_EXECUTOR: 'host' }
  daemon = await Daemon.of(controlPlane, tenant, { name: 'watched', env })
  await daemon.online(tenant)
})
afterAll(async () => {
  await daemon.end('SIGTERM')
  await controlPlane.stop()
  await network.close()
})

class Viewer {
  readonly states: string[] = []
  readonly frames: number[] = []
  closed: number | null = null
  readonly #socket: WebSocket

  constructor({ url, ticket }: ViewerTicket) {
    const protocols = [STREAM_SUBPROTOCOL, `${TICKET_SUBPROTOCOL_PREFIX}${ticket}`]
    this.#socket = new WebSocket(url, protocols, { perMessageDeflate: false })
    this.#socket.on('close', code => {
      this.closed = code
    })
    this.#socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) this.#draw(data.readUInt32BE(1))
      else this.#hear(ToViewer.parse(JSON.parse(String(data))))
    })
  }

  leave(): void {
    this.#socket.close()
  }

  #hear(message: ToViewer): void {
    if (message.type === 'state') this.states.push(`${message.stream}: ${message.reason ?? ''}`)
  }

  #draw(seq: number): void {
    this.frames.push(seq)
    this.#socket.send(JSON.stringify({ type: 'ack', seq }))
  }
}

test('the picture is back after a break that nobody was told of, and the viewer was told meanwhile', async () => {
  const { id } = await tenant.run({
    image: 'docker.io/library/none:1',
    command: ['sleep', '600'],
    stream: true,
  })
  const running = await tenant.reaches(id, 'running')
  const agent = await FakeAgent.listen(path.join(daemon.stateDir, 'sessions', running.session_id ?? ''))
  let seq = 0
  const timer = setInterval(() => agent.isWanted && agent.frame(++seq, 20_000), 50)
  try {
    const viewer = new Viewer(
      await tenant.api.post(`/runs/${id}/viewer-tickets`, { mode: 'view' }, ViewerTicket),
    )
    await until('frames come', () => viewer.frames.length > 10)
    network.websockets = false
    network.dropWebsockets()
    await until('the viewer is told', () => viewer.states.at(-1)?.includes('lost'))
    network.websockets = true
    const seen = viewer.frames.length
    await until('frames come again', () => viewer.frames.length > seen)
    expect(viewer.states.map(state => state.split(':')[0])).toEqual([
      'connecting',
      'connecting',
      'live',
      'connecting',
      'connecting',
      'live',
    ])
    expect((await tenant.get(id)).stream).toMatchObject({ state: 'live', viewers: 1 })

    viewer.leave()
    await until('nothing is wanted', () => !agent.isWanted)
    await until('the run shows it', async () => (await tenant.get(id)).stream.state === 'off')
    const again = new Viewer(
      await tenant.api.post(`/runs/${id}/viewer-tickets`, { mode: 'view' }, ViewerTicket),
    )
    await until('frames come', () => again.frames.length > 10)
    await tenant.cancel(id)
    await until('the viewer is cut off', () => again.closed === 4410)
    for (const line of [
      'open_stream: connecting to the relay',
      'relay connected',
      'the line to the relay is closed',
    ]) {
      expect(daemon.log()).toMatch(
        new RegExp(`"session_id":"${running.session_id}".*"run_id":"${id}".*${line}`),
      )
    }
  } finally {
    clearInterval(timer)
    await agent.close()
  }
})
