import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'
import { decodeFrame, type FromPublisher, type InputEvent } from '../../../protocol/stream.ts'

/** The control plane's end of a publisher's line: a real websocket server that may refuse, stall, break and close. */
export class FakeRelay {
  readonly requests: IncomingMessage[] = []
  readonly frames: number[] = []
  readonly texts: FromPublisher[] = []
  /** What the frames and the texts were, in the order they came in. */
  readonly types: ('frame' | FromPublisher['type'])[] = []
  readonly closes: number[] = []
  /** Refuses upgrades with this status while set. */
  refuses: number | null = null
  answersPings = true
  readonly #server: Server
  readonly #sockets: WebSocket[] = []
  #unanswered = 0

  static async start(): Promise<FakeRelay> {
    const server = createServer()
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    return new FakeRelay(server)
  }

  private constructor(server: Server) {
    this.#server = server
    const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false })
    server.on('upgrade', (request, line, head) => {
      this.requests.push(request)
      if (this.refuses === null) sockets.handleUpgrade(request, line, head, socket => this.#adopt(socket))
      else line.end(`HTTP/1.1 ${this.refuses} Refused\r\nContent-Length: 0\r\n\r\n`)
    })
  }

  get url(): URL {
    return new URL(`http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`)
  }

  /** Lines that were opened so far. */
  get lines(): number {
    return this.#sockets.length
  }

  demand(viewers: number, refresh = false): void {
    this.#say({ type: 'demand', viewers, max_fps: 30, refresh })
  }

  input(event: InputEvent): void {
    this.#say({ type: 'input', event })
  }

  close(code: number): void {
    this.#line.close(code)
  }

  break(): void {
    this.#line.terminate()
  }

  hold(what: 'reading' | 'pongs'): void {
    if (what === 'reading') this.#line.pause()
    else this.answersPings = false
  }

  release(): void {
    this.#line.resume()
    this.answersPings = true
    for (; this.#unanswered > 0; this.#unanswered--) this.#line.send('pong')
  }

  stop(): void {
    for (const socket of this.#sockets) socket.terminate()
    this.#server.close()
  }

  get #line(): WebSocket {
    const line = this.#sockets.at(-1)
    if (line === undefined) throw new Error('no publisher has connected')
    return line
  }

  #say(message: object): void {
    this.#line.send(JSON.stringify(message))
  }

  #adopt(socket: WebSocket): void {
    this.#sockets.push(socket)
    socket.on('error', () => undefined)
    socket.on('close', code => this.closes.push(code))
    socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) this.#heardFrame(decodeFrame(data)?.seq ?? -1)
      else if (String(data) !== 'ping') this.#heardText(JSON.parse(String(data)))
      else if (this.answersPings) socket.send('pong')
      else this.#unanswered += 1
    })
  }

  #heardFrame(seq: number): void {
    this.frames.push(seq)
    this.types.push('frame')
  }

  #heardText(message: FromPublisher): void {
    this.texts.push(message)
    this.types.push(message.type)
  }
}
