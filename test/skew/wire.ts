import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { WebSocket, WebSocketServer } from 'ws'

/**
 * The way between a runner and its control plane as one that reads what passes: bodies can be made into those of
 * another release, in either direction, and more can be said on the websockets.
 */
export type Fields = { [name: string]: unknown }
/** @param call last part of the call's path: `register`, `sync`, `credential`, `artifacts`, ... */
export type Rewrite = (call: string, body: Fields) => Fields

export interface Exchange {
  readonly call: string
  readonly path: string
  readonly request: Buffer
  readonly status: number
  readonly reply: Buffer
}

export class Wire {
  toControlPlane: Rewrite = (_, body) => body
  toRunner: Rewrite = (_, body) => body
  readonly exchanges: Exchange[] = []
  /** What was said as text on websockets; `call` is `doorbell` or `relay`. */
  readonly texts: {
    readonly call: string
    readonly from: 'runner' | 'control plane'
    readonly text: string
  }[] = []
  readonly #server: Server
  readonly #sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false })
  readonly #target: URL
  readonly #joints = new Set<{ readonly near: WebSocket; readonly far: WebSocket }>()

  private constructor(target: string) {
    this.#target = new URL(target)
    this.#server = createServer((incoming, outgoing) => void this.#pass(incoming, outgoing))
    this.#server.on('upgrade', (incoming, socket, head) => {
      this.#sockets.handleUpgrade(incoming, socket, head, near => this.#join(incoming, near))
    })
  }

  static async to(target: string): Promise<Wire> {
    const wire = new Wire(target)
    await new Promise<void>(resolve => wire.#server.listen(0, '127.0.0.1', resolve))
    return wire
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** To both ends of every websocket that is open. */
  say(text: string): void {
    for (const { near, far } of this.#joints) {
      near.send(text)
      if (far.readyState === WebSocket.OPEN) far.send(text)
    }
  }

  async close(): Promise<void> {
    for (const { near, far } of this.#joints) {
      near.terminate()
      far.terminate()
    }
    this.#server.closeAllConnections()
    await new Promise<void>(resolve => this.#server.close(() => resolve()))
  }

  async #pass(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const call = callOf(incoming)
    const body = rewritten(await buffer(incoming), fields => this.toControlPlane(call, fields))
    const { host: _, connection: __, 'content-length': ___, ...headers } = incoming.headers
    const forwarded = request(new URL(incoming.url ?? '/', this.#target), {
      method: incoming.method,
      headers: { ...headers, ...(incoming.method !== 'GET' && { 'content-length': body.length }) },
    })
    forwarded.on('error', () => outgoing.destroy())
    forwarded.on('response', async answer => {
      const reply = rewritten(await buffer(answer), fields => this.toRunner(call, fields))
      this.exchanges.push({
        call,
        path: incoming.url ?? '',
        request: body,
        status: answer.statusCode ?? 0,
        reply,
      })
      const { 'content-length': _length, 'transfer-encoding': _coding, ...kept } = answer.headers
      outgoing.writeHead(answer.statusCode ?? 502, kept).end(reply)
    })
    forwarded.end(body)
  }

  #join(incoming: IncomingMessage, near: WebSocket): void {
    const call = callOf(incoming)
    const url = new URL(incoming.url ?? '/', this.#target)
    const { authorization = '' } = incoming.headers
    const far = new WebSocket(url, { headers: { authorization }, perMessageDeflate: false })
    const opened = new Promise<void>(resolve => far.on('open', () => resolve()))
    const joint = { near, far }
    this.#joints.add(joint)
    near.on('message', (data, binary) => {
      if (!binary) this.texts.push({ call, from: 'runner', text: String(data) })
      void opened.then(() => far.send(data, { binary }))
    })
    far.on('message', (data, binary) => {
      if (!binary) this.texts.push({ call, from: 'control plane', text: String(data) })
      near.send(data, { binary })
    })
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on('error', () => other.terminate())
      one.on('close', code => {
        this.#joints.delete(joint)
        if (code === 1005 || code === 1006) other.terminate()
        else other.close(code)
      })
    }
  }
}

function callOf({ url = '' }: IncomingMessage): string {
  return new URL(url, 'http://wire').pathname.split('/').at(-1) ?? ''
}

/** What is no JSON object, such as a part of a log, stays as it is. */
function rewritten(body: Buffer, rewrite: (fields: Fields) => Fields): Buffer {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'))
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return body
    return Buffer.from(JSON.stringify(rewrite({ ...value })))
  } catch {
    return body
  }
}
