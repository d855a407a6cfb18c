import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'

export interface Passing {
  readonly method: string
  readonly path: string
}

/** A hold on calls of one kind. Those that are held go on when it is released, whether or not anybody still waits. */
export class Hold {
  readonly #released = Promise.withResolvers<void>()
  readonly #isMeant: (call: Passing) => boolean
  held = 0
  passed = 0

  constructor(method: string, path: RegExp) {
    this.#isMeant = call => call.method === method && path.test(call.path)
  }

  release(): void {
    this.#released.resolve()
  }

  async on(call: Passing): Promise<void> {
    if (!this.#isMeant(call)) return
    this.held += 1
    await this.#released.promise
    this.passed += 1
  }
}

/** A unix socket in front of the Engine's, which holds requests on their way there, or replies on their way back. */
export class EngineProxy {
  readonly path: string
  readonly #target: string
  readonly #server: Server
  onRequest: (call: Passing) => Promise<void> = async () => undefined
  onReply: (call: Passing) => Promise<void> = async () => undefined

  constructor(path: string, target: string) {
    this.path = path
    this.#target = target
    this.#server = createServer((request, response) => void this.#forward(request, response))
  }

  async open(): Promise<void> {
    await new Promise<void>(resolve => this.#server.listen(this.path, resolve))
  }

  shut(): void {
    this.#server.close()
    this.#server.closeAllConnections()
  }

  async #forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const call = { method: request.method ?? '', path: (request.url ?? '').replace(/\?.*$/, '') }
    const body = Buffer.concat(await request.toArray())
    await this.onRequest(call)
    const options = {
      socketPath: this.#target,
      path: request.url,
      method: call.method,
      headers: request.headers,
    }
    const onward = httpRequest(options, async reply => {
      await this.onReply(call)
      response.writeHead(reply.statusCode ?? 502, reply.headers)
      response.flushHeaders()
      reply.pipe(response)
      response.on('close', () => reply.destroy())
    })
    onward.on('error', () => response.destroy())
    onward.end(body)
  }
}
