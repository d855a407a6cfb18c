import { closeSync, openSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { join } from 'node:path'
import { type WebSocket, WebSocketServer } from 'ws'
import { encodeFrame, ToPublisher } from '../../../protocol/stream.ts'
import { until } from './runner-process.ts'

/** What listens on a session's `stream.sock`: a real websocket server on a real unix socket, saying what it is told to. */
export class FakeAgent {
  readonly heard: ToPublisher[] = []
  readonly closes: { readonly code: number; readonly reason: string }[] = []
  connections = 0
  readonly #server: Server
  readonly #path: string
  #client: WebSocket | null = null

  /** Also where the socket's path is longer than its address may be. */
  static async listen(folder: string): Promise<FakeAgent> {
    const server = createServer()
    const descriptor = openSync(folder, 'r')
    await new Promise<void>(resolve =>
      server.listen(`/proc/self/fd/${descriptor}/stream.sock`, () => resolve()),
    )
    server.on('close', () => closeSync(descriptor))
    return new FakeAgent(server, join(folder, 'stream.sock'))
  }

  private constructor(server: Server, path: string) {
    this.#server = server
    this.#path = path
    new WebSocketServer({ server, perMessageDeflate: false }).on('connection', socket => {
      this.connections += 1
      this.#client = socket
      socket.on('error', () => undefined)
      socket.on('close', (code, reason) => this.closes.push({ code, reason: String(reason) }))
      socket.on('message', data => this.heard.push(ToPublisher.parse(JSON.parse(String(data)))))
    })
  }

  async hears(what: string, is: (message: ToPublisher) => boolean): Promise<ToPublisher> {
    await until(what, () => this.heard.some(is))
    return this.heard.find(is) as ToPublisher
  }

  async hearsDemand(viewers: number): Promise<ToPublisher> {
    return await this.hears(
      `a demand for ${viewers}`,
      one => one.type === 'demand' && one.viewers === viewers,
    )
  }

  /** Whether the last demand was for anybody. */
  get isWanted(): boolean {
    return this.heard.findLast(one => one.type === 'demand')?.viewers !== 0 && this.heard.length > 0
  }

  send(message: string | Uint8Array): void {
    this.#client?.send(message)
  }

  frame(seq: number, bytes = 16): void {
    this.send(encodeFrame({ seq, capturedAtMs: seq, image: new Uint8Array(bytes) }))
  }

  hello(width: number, height: number): void {
    this.send(JSON.stringify({ type: 'hello', width, height }))
  }

  /** The system has taken everything from this process; no more than a socket's buffer of it is unread. */
  async isRead(): Promise<void> {
    await until('the runner has read the agent', () => this.#client?.bufferedAmount === 0)
  }

  async close(): Promise<void> {
    this.#client?.terminate()
    await new Promise(resolve => this.#server.close(resolve))
    rmSync(this.#path, { force: true })
  }
}
