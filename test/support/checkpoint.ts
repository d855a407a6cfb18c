import http from 'node:http'
import net from 'node:net'

/** One call at a checkpoint. `reply` is null while the call is on its way there. */
export interface Passing {
  readonly method: string
  readonly path: string
  readonly request: string
  readonly reply: { readonly status: number; readonly text: string } | null
}

/**
 * Asked twice about a call: before it is made, and, once it has taken effect, before anybody hears of it. On false it
 * goes no further.
 */
export type Gate = (passing: Passing) => boolean | Promise<boolean>

export type Target = { readonly socketPath: string } | { readonly host: string; readonly port: number }

/** A server in front of a real one, which can lose a call, or the reply of one that took effect. */
export class Checkpoint {
  readonly #target: Target
  readonly #gate: Gate
  readonly #server = http.createServer((request, response) => void this.#forward(request, response))
  readonly #sockets = new Set<net.Socket>()

  private constructor(target: Target, gate: Gate) {
    this.#target = target
    this.#gate = gate
  }

  /** @param listenOn path of a unix socket, or 0 for any port on loopback */
  static async before(target: Target, listenOn: string | 0, gate: Gate): Promise<Checkpoint> {
    const checkpoint = new Checkpoint(target, gate)
    const server = checkpoint.#server
    // A connection that is shut just when it is used again would be one fault too many.
    server.keepAliveTimeout = 0
    server.on('connection', socket => {
      checkpoint.#sockets.add(socket)
      socket.on('close', () => checkpoint.#sockets.delete(socket))
    })
    server.on('upgrade', (request, socket, head) => checkpoint.#join(request, socket as net.Socket, head))
    await new Promise<void>(resolve => {
      if (listenOn === 0) server.listen(0, '127.0.0.1', resolve)
      else server.listen(listenOn, resolve)
    })
    return checkpoint
  }

  get url(): string {
    const address = this.#server.address()
    if (typeof address === 'string') return `unix://${address}`
    if (address === null) throw new Error('it does not listen')
    return `http://127.0.0.1:${address.port}`
  }

  /** Ends every connection, as the end of the process at its other end would. */
  sever(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async close(): Promise<void> {
    this.sever()
    await new Promise(resolve => this.#server.close(resolve))
  }

  async #forward(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const body = Buffer.concat(await request.toArray().catch(() => []))
    const { method = '', url: path = '', headers } = request
    const call = { method, path, request: body.toString() }
    if (!(await this.#gate({ ...call, reply: null }))) return void request.socket.destroy()
    const onward = http.request({ ...this.#target, agent: false, method, path, headers })
    // The Engine drops what it does for a client that is gone; so does it here.
    response.on('close', () => onward.destroy())
    onward.on('error', () => request.socket.destroy())
    onward.on('response', async reply => {
      response.writeHead(reply.statusCode ?? 502, reply.headers)
      // The Engine says at once that it waits for a container, and much later that it has ended.
      if (path.includes('/wait')) response.flushHeaders()
      const said = Buffer.concat(await reply.toArray().catch(() => []))
      const passes = await this.#gate({
        ...call,
        reply: { status: response.statusCode, text: said.toString() },
      })
      if (passes && reply.complete) response.end(said)
      else request.socket.destroy()
    })
    onward.end(body)
  }

  /** A websocket passes as bytes. */
  #join(request: http.IncomingMessage, near: net.Socket, head: Buffer): void {
    const far = net.connect('socketPath' in this.#target ? { path: this.#target.socketPath } : this.#target)
    const headers = request.rawHeaders.flatMap((name, at, all) =>
      at % 2 === 0 ? [`${name}: ${all[at + 1]}`] : [],
    )
    far.write([`${request.method} ${request.url} HTTP/1.1`, ...headers, '', ''].join('\r\n'))
    far.write(head)
    near.pipe(far).pipe(near)
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on('error', () => undefined)
      one.on('close', () => other.destroy())
    }
  }
}
