import { expect } from 'vitest'
import { encodeFrame, ToPublisher, ToViewer } from '../../protocol/stream.ts'
import { type Answer, call } from './client.ts'
import {
  makeEnvironment,
  makePool,
  makeRun,
  makeRunner,
  makeTenant,
  ok,
  runnerPath,
  sync,
  type TestRunner,
  type TestTenant,
} from './world.ts'

/** A run whose session is running on a runner that says so. */
export interface LiveRun {
  readonly tenant: TestTenant
  readonly poolId: string
  readonly environmentId: string
  readonly runner: TestRunner
  readonly runId: string
  readonly sessionId: string
  seq: number
}

export async function liveRun(more: object = {}): Promise<LiveRun> {
  const tenant = await makeTenant()
  const poolId = await makePool(tenant)
  const runner = await makeRunner(tenant, poolId)
  const environmentId = await makeEnvironment(tenant, poolId)
  const runId = await makeRun(tenant, environmentId, { command: ['sleep', '1'], ...more })
  const offered = ok(await sync(runner, 1)).body.offers[0].session_id
  const live = { tenant, poolId, environmentId, runner, runId, sessionId: offered, seq: 1 }
  await syncLive(live)
  return live
}

/** The runner's next sync, in which the session runs. */
export async function syncLive(live: LiveRun, more: object = {}): Promise<Answer> {
  live.seq += 1
  const leases = [{ session_id: live.sessionId, state: 'running' }]
  return ok(await sync(live.runner, live.seq, { leases, ...more }))
}

export async function endSession(live: LiveRun): Promise<void> {
  const leases = [{ session_id: live.sessionId, state: 'exited', exit: { code: 0, reason: 'exited' } }]
  await syncLive(live, { leases })
}

export async function ticketFor(live: LiveRun, mode: 'view' | 'control' = 'view'): Promise<string> {
  const path = `/api/v1/runs/${live.runId}/viewer-tickets`
  return ok(await call('POST', path, { key: live.tenant.keys.member, body: { mode } })).body.ticket
}

export function dialStream(
  runId: string,
  ticket: string | null,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const protocols = ticket === null ? 'certyn.stream.v1' : `certyn.stream.v1, certyn.ticket.${ticket}`
  return call('GET', `/api/v1/runs/${runId}/stream`, {
    headers: { upgrade: 'websocket', 'sec-websocket-protocol': protocols, ...headers },
  })
}

export async function dialRelay(live: LiveRun, credential = live.runner.credential): Promise<Answer> {
  const path = runnerPath(live.runner, `sessions/${live.sessionId}/relay`)
  return await call('GET', path, { key: credential, headers: { upgrade: 'websocket' } })
}

/** One end of a socket, with what it has heard so far and has not been asked for. */
export class Ear {
  readonly socket: WebSocket
  readonly #heard: (string | Uint8Array)[] = []
  #wake: () => void = () => undefined
  closed: { code: number; reason: string } | null = null

  constructor(answer: Answer) {
    const socket = answer.webSocket
    if (socket === null) throw new Error(`no websocket: ${answer.status} ${answer.text}`)
    this.socket = socket
    socket.binaryType = 'arraybuffer'
    socket.accept()
    socket.addEventListener('message', ({ data }) => {
      this.#heard.push(typeof data === 'string' ? data : new Uint8Array(data as ArrayBuffer))
      this.#wake()
    })
    socket.addEventListener('close', ({ code, reason }) => {
      this.closed = { code, reason }
      this.#wake()
    })
  }

  async next(): Promise<string | Uint8Array> {
    for (;;) {
      const first = this.#heard.shift()
      if (first !== undefined) return first
      if (this.closed !== null) throw new Error(`closed with ${this.closed.code} ${this.closed.reason}`)
      await this.#change()
    }
  }

  async close(): Promise<number> {
    while (this.closed === null) await this.#change()
    return this.closed.code
  }

  /** Everything heard until nothing more comes for a while; only for asserting that something did not come. */
  async rest(): Promise<(string | Uint8Array)[]> {
    await new Promise(resolve => setTimeout(resolve, 50))
    return this.#heard.splice(0)
  }

  send(message: unknown): void {
    this.socket.send(message instanceof Uint8Array ? message : JSON.stringify(message))
  }

  #change(): Promise<void> {
    return new Promise(resolve => {
      this.#wake = resolve
    })
  }
}

export class TestViewer extends Ear {
  /** The last frame it has acknowledged. */
  acked = -1

  static async join(live: LiveRun, mode: 'view' | 'control' = 'view'): Promise<TestViewer> {
    return new TestViewer(await dialStream(live.runId, await ticketFor(live, mode)))
  }

  async message(): Promise<ToViewer> {
    return ToViewer.parse(JSON.parse(String(await this.next())))
  }

  /** @returns the next frame; messages before it are skipped */
  async bytes(): Promise<Uint8Array> {
    for (;;) {
      const heard = await this.next()
      if (heard instanceof Uint8Array) return heard
    }
  }

  /** @returns the next frame's sequence number */
  async frame(): Promise<number> {
    return new DataView((await this.bytes()).buffer).getUint32(1)
  }

  async until(stream: 'connecting' | 'live' | 'ended'): Promise<ToViewer> {
    for (;;) {
      const heard = await this.next()
      if (typeof heard !== 'string') continue
      const message = ToViewer.parse(JSON.parse(heard))
      if (message.type === 'state' && message.stream === stream) return message
    }
  }

  ack(seq: number): void {
    this.acked = seq
    this.send({ type: 'ack', seq })
  }
}

export class TestPublisher extends Ear {
  static async join(live: LiveRun): Promise<TestPublisher> {
    return new TestPublisher(await dialRelay(live))
  }

  async message(): Promise<ToPublisher> {
    return ToPublisher.parse(JSON.parse(String(await this.next())))
  }

  async demand(viewers: number): Promise<ToPublisher> {
    for (;;) {
      const message = await this.message()
      if (message.type === 'demand' && message.viewers === viewers) return message
    }
  }

  frame(seq: number, image: Uint8Array = new Uint8Array([0xff, 0xd8, seq])): void {
    this.send(encodeFrame({ seq, capturedAtMs: 1_700_000_000_000 + seq, image }))
  }
}

export function commandsOf(answer: Answer): { id: string; type: string; session_id: string }[] {
  expect(answer.body.commands).toBeInstanceOf(Array)
  return answer.body.commands
}
