import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type Docker from 'dockerode'
import { openEngine } from '../../../runner/executors/docker/engine.ts'

/** A body that is text is sent as it is, any other as JSON. */
type Said = { status: number; body: unknown } | 'hang'
/** Answers one call, or leaves it without an answer. The version prefix and the query are not part of the path. */
export type Answer = (path: string, method: string, call: Call) => Said | Promise<Said>

export interface Call {
  readonly query: URLSearchParams
  /** Parsed; null where there was none. */
  readonly body: unknown
}

/** An Engine that says whatever a test wants to hear, on a socket of its own. */
export class FakeEngine {
  readonly docker: Docker
  readonly #path: string
  readonly calls: string[] = []
  connections = 0
  answer: Answer = () => ({ status: 500, body: { message: 'not said' } })
  readonly #server = createServer((request, response) => void this.#reply(request, response))

  constructor(path: string) {
    this.#path = path
    this.docker = openEngine(path)
    this.#server.on('connection', socket => {
      this.connections += 1
      socket.on('close', () => {
        this.connections -= 1
      })
    })
  }

  async open(): Promise<void> {
    await new Promise<void>(resolve => this.#server.listen(this.#path, resolve))
  }

  shut(): void {
    this.#server.close()
    this.#server.closeAllConnections()
  }

  async #reply(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname: path, searchParams: query } = new URL(request.url ?? '', 'http://engine')
    const { method = '' } = request
    this.calls.push(`${method} ${path}`)
    const asked = (await request.toArray()).join('')
    const said = await this.answer(path, method, { query, body: asked === '' ? null : JSON.parse(asked) })
    if (said === 'hang') return
    const headers = { 'content-type': 'application/json', connection: 'close' }
    const text = typeof said.body === 'string' ? said.body : JSON.stringify(said.body)
    response.writeHead(said.status, headers).end(text)
  }
}
