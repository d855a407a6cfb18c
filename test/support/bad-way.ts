import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What is to happen to the answer of a call; each happens once. */
type Fault =
  /** The call is carried out and its answer never arrives. */
  | { readonly when: RegExp; readonly kind: 'reply_lost' }
  /** The connection breaks when so much of the body has passed. */
  | { readonly when: RegExp; readonly kind: 'cut'; readonly afterBytes: number }

/** An HTTP way to a control plane that loses what it is told to lose. */
export class BadWay {
  /** `POST /api/v1/…` in order, with what the headers said. */
  readonly calls: { readonly call: string; readonly headers: IncomingMessage['headers'] }[] = []
  /** What is still to happen. */
  readonly faults: Fault[] = []
  readonly #target: URL
  readonly #server = createServer((incoming, answer) => this.#pass(incoming, answer))

  private constructor(target: string) {
    this.#target = new URL(target)
  }

  static async to(target: string): Promise<BadWay> {
    const way = new BadWay(target)
    await new Promise<void>(resolve => way.#server.listen(0, '127.0.0.1', resolve))
    return way
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>(resolve => this.#server.close(() => resolve()))
  }

  #pass(incoming: IncomingMessage, answer: ServerResponse): void {
    const { method, url: path, headers } = incoming
    const call = `${method} ${path}`
    this.calls.push({ call, headers })
    const at = this.faults.findIndex(({ when }) => when.test(call))
    const fault = at === -1 ? undefined : this.faults.splice(at, 1)[0]
    const onward = request(new URL(path ?? '/', this.#target), { method, headers }, reply => {
      if (fault?.kind === 'reply_lost') return void answer.socket?.destroy()
      answer.writeHead(reply.statusCode ?? 502, reply.headers)
      answer.flushHeaders()
      let passed = 0
      reply.on('data', (bytes: Buffer) => {
        const room = fault === undefined ? bytes.length : fault.afterBytes - passed
        answer.write(bytes.subarray(0, Math.max(0, room)))
        passed += bytes.length
        // What was to pass arrives before the end does.
        if (bytes.length > room) answer.socket?.end()
      })
      reply.on('end', () => answer.end())
      reply.on('error', () => answer.socket?.destroy())
    })
    onward.on('error', () => answer.socket?.destroy())
    answer.on('close', () => onward.destroy())
    incoming.pipe(onward)
  }
}
