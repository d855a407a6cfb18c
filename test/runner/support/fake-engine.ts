import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type Docker from 'dockerode'
import { openEngine } from '../../../runner/executors/docker/engine.ts'

/** Answers one call, or leaves it without an answer. The version prefix and the query are not part of the path. */
export type Answer = (path: string, method: string) => { status: number; body: unknown } | 'hang'

/** An Engine that says whatever a test wants to hear, on a socket of its own. */
export class FakeEngine {
  readonly docker: Docker
  readonly #path: string
  readonly calls: string[] = []
  connections = 0
  answer: Answer = () => ({ status: 500, body: { message: 'not said' } })
  readonly #server = createServer((request, response) => this.#reply(request, response))

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

  #reply({ url = '', method = '' }: IncomingMessage, response: ServerResponse): void {
    const path = url.replace(/\?.*$/, '')
    this.calls.push(`${method} ${path}`)
    const said = this.answer(path, method)
    if (said === 'hang') return
    const headers = { 'content-type': 'application/json', connection: 'close' }
    response.writeHead(said.status, headers).end(JSON.stringify(said.body))
  }
}
