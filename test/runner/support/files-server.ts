import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { ERRORS, type ErrorCode } from '../../../protocol/errors.ts'
import { ApiClient } from '../../../runner/api/client.ts'
import { UploadCalls } from '../../../runner/api/uploads.ts'
import { POOL, RUNNER } from './fake-control-plane.ts'
import { FakeSessionFiles } from './fake-session-files.ts'

/** `drop`: the call never got there. `lose`: it took effect, and nobody heard of it. */
export type Fault = 'drop' | 'lose' | ErrorCode

/** The part of a control plane that takes what sessions leave, over real HTTP, with faults on demand. */
export class FilesServer {
  readonly files = new FakeSessionFiles()
  /** Asked for every call; its path begins with the session. */
  faultOf: (path: string) => Fault | null = () => null
  readonly calls: UploadCalls
  readonly #server: Server
  readonly #api: ApiClient

  private constructor(server: Server, api: ApiClient) {
    this.#server = server
    this.#api = api
    this.calls = new UploadCalls(api, () => ({ poolId: POOL, runnerId: RUNNER, credential: 'c' }))
    server.on('request', (request, response) => void this.#answer(request, response))
  }

  static async start(): Promise<FilesServer> {
    const server = createServer()
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    return new FilesServer(
      server,
      new ApiClient({ CONTROL_PLANE_URL: url, HTTPS_PROXY: null, NO_PROXY: null }),
    )
  }

  async stop(): Promise<void> {
    await this.#api.close()
    this.#server.closeAllConnections()
    await new Promise<void>(resolve => this.#server.close(() => resolve()))
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const bytes = await buffer(request)
    const [, path = ''] = (request.url ?? '').split('/sessions')
    const fault = this.faultOf(path)
    if (fault === 'drop') return void request.socket.destroy()
    if (fault !== null && fault !== 'lose') return send(response, refusal(fault))
    const answer = this.files.answer(path, bytes)
    if (fault === 'lose') return void request.socket.destroy()
    if ('code' in answer) return send(response, refusal(answer.code, answer.length))
    send(response, [...answer])
  }
}

function send(response: ServerResponse, [status, value]: readonly [number, unknown]): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
}

function refusal(code: ErrorCode, length?: number): readonly [number, unknown] {
  const { status, title } = ERRORS[code]
  const problem = { type: 'about:blank', title, status, code, detail: code, request_id: 'r', length }
  return [status, problem]
}
