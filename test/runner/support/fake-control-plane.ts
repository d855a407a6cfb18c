import { randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer, type ServerOptions } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { type WebSocket, WebSocketServer } from 'ws'
import { ERRORS, type ErrorCode, type Refusal } from '../../../protocol/errors.ts'
import {
  type Command,
  DOORBELL,
  type LeaseReport,
  type Offer,
  RegisterRequest,
  SyncRequest,
  type SyncResponse,
} from '../../../protocol/runner-api.ts'
import { mintSecret } from '../../../protocol/secrets.ts'
import { aReply } from './factories.ts'
import { FakeSessionFiles } from './fake-session-files.ts'

export const POOL = 'pol_01jd0000000000000000000000'
export const RUNNER = 'rnr_01jd0000000000000000000000'

type Fault =
  | 'lose_reply'
  | 'cut'
  | 'hang'
  | { readonly refuse: ErrorCode; readonly detail?: string }
  | { readonly body: string; readonly status?: number }

/**
 * The runner API of one pool with one runner, over real HTTP and websockets, with faults on demand. It keeps the
 * contract's rules that a runner depends on: replies repeat offers and commands, verdicts, stale answers.
 */
export class FakeControlPlane {
  readonly registrations: RegisterRequest[] = []
  readonly syncs: SyncRequest[] = []
  readonly exits = new Map<string, LeaseReport>()
  readonly credentials: string[] = []
  readonly files = new FakeSessionFiles()
  readonly token = mintSecret('registrationToken')
  registerFaults: Fault[] = []
  syncFaults: Fault[] = []
  /** Applies to every sync while set. */
  standingFault: Fault | null = null
  offers: Offer[] = []
  commands: Command[] = []
  reply: Partial<SyncResponse> = { next_sync_in_ms: 500, lease_ttl_ms: 5000 }
  /** Called with every sync that is applied, before its reply is sent. */
  onSync: (request: SyncRequest) => void = () => undefined
  /** Where a proxy in front of it has put it; nothing of it is anywhere else. */
  prefix = ''
  doorbellsOpened = 0
  answersPings = true
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #doorbells = new Set<WebSocket>()
  readonly #live = new Set<string>()
  #lastSeq = 0
  #lastBoot = -1
  #uses = 0
  #rotated: string | null = null

  private constructor(server: Server) {
    this.#server = server
  }

  static async start(tls?: ServerOptions): Promise<FakeControlPlane> {
    const server = tls === undefined ? createServer() : createTlsServer(tls)
    const fake = new FakeControlPlane(server)
    const doorbell = new WebSocketServer({ noServer: true })
    server.on('connection', socket => {
      fake.#sockets.add(socket)
      socket.on('close', () => fake.#sockets.delete(socket))
    })
    server.on('request', (request, response) => void fake.#answer(request, response))
    server.on('upgrade', (request, socket, head) => {
      const path = fake.#pathOf(request)
      if (path === null) socket.destroy()
      else if (path === '/healthz') doorbell.handleUpgrade(request, socket, head, ws => ws.close(1000))
      else doorbell.handleUpgrade(request, socket, head, ws => fake.#ringable(ws))
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    return fake
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  get lastSync(): SyncRequest | undefined {
    return this.syncs.at(-1)
  }

  lease(sessionId: string): LeaseReport | undefined {
    return this.lastSync?.leases.find(lease => lease.session_id === sessionId)
  }

  offer(offer: Offer): void {
    this.offers.push(offer)
    this.#live.add(offer.session_id)
    this.ring()
  }

  command(command: Command): void {
    this.commands.push(command)
    this.ring()
  }

  /** As with another token: the one use of this pool's is given back. */
  allowAnotherRegistration(): void {
    this.#uses = 0
  }

  ring(): void {
    for (const ws of this.#doorbells) ws.send(DOORBELL.ring)
  }

  /** Packets stop, the sockets stay: what a dropped NAT entry looks like from both ends. */
  muteDoorbells(): void {
    this.answersPings = false
    this.#doorbells.clear()
  }

  cutDoorbells(): void {
    for (const ws of this.#doorbells) ws.terminate()
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>(resolve => this.#server.close(() => resolve()))
  }

  #pathOf({ url = '' }: IncomingMessage): string | null {
    return url.startsWith(`${this.prefix}/`) ? url.slice(this.prefix.length) : null
  }

  #ringable(ws: WebSocket): void {
    this.doorbellsOpened += 1
    this.#doorbells.add(ws)
    ws.on('message', data => {
      if (data.toString() === DOORBELL.ping && this.answersPings) ws.send(DOORBELL.pong)
    })
    ws.on('close', () => this.#doorbells.delete(ws))
    ws.on('error', () => undefined)
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const bytes = await buffer(request)
    const path = this.#pathOf(request)
    if (path === null) return void response.writeHead(404).end('not here')
    if (path === '/healthz') return send(response, 200, { status: 'ok', version: '0' })
    if (path === '/runner/v1/register') {
      return this.#withFault(response, this.registerFaults.shift() ?? null, () => this.#register(json(bytes)))
    }
    if (!this.#isCredential(request.headers.authorization)) {
      return refuse(response, 'unauthenticated', 'not this runner’s credential')
    }
    if (path.endsWith('/sync')) {
      const fault = this.standingFault ?? this.syncFaults.shift() ?? null
      return this.#withFault(response, fault, () => this.#sync(json(bytes)))
    }
    if (path.endsWith('/credential')) {
      this.#rotated = this.credentials.at(-1) ?? null
      this.credentials.push(mintSecret('runnerCredential'))
      return send(response, 200, { credential: this.credentials.at(-1) })
    }
    const [, ofSession] = path.split('/sessions/')
    if (ofSession !== undefined) return settle(response, this.files.answer(ofSession, bytes))
    if (path.endsWith('/doorbell')) return refuse(response, 'invalid_request', 'the doorbell is a websocket')
    return refuse(response, 'not_found', path)
  }

  #withFault(response: ServerResponse, fault: Fault | null, handle: () => [number, unknown]): void {
    if (fault === 'hang') return
    if (fault === 'cut') {
      response.destroy()
      return
    }
    if (fault !== null && typeof fault === 'object' && 'refuse' in fault) {
      return refuse(response, fault.refuse, fault.detail ?? fault.refuse)
    }
    if (fault !== null && typeof fault === 'object') {
      response.writeHead(fault.status ?? 200, { 'content-type': 'application/json' }).end(fault.body)
      return
    }
    const [status, value] = handle()
    if (fault === 'lose_reply') response.destroy()
    else if (status >= 400) refuse(response, value as ErrorCode, String(value))
    else send(response, status, value)
  }

  /** After a rotation the old one lives until the new one is used. */
  #isCredential(header: string | undefined): boolean {
    const isNewest = header === `Bearer ${this.credentials.at(-1)}`
    if (isNewest) this.#rotated = null
    return isNewest || (this.#rotated !== null && header === `Bearer ${this.#rotated}`)
  }

  #register(body: unknown): [number, unknown] {
    const request = RegisterRequest.parse(body)
    const known = this.registrations.at(-1)
    if (request.registration_token !== this.token) return [401, 'unauthenticated']
    this.registrations.push(request)
    if (known === undefined || known.boot_id !== request.boot_id) {
      if (this.#uses === 1) return [401, 'token_used_up']
      this.#uses += 1
    }
    this.credentials.push(mintSecret('runnerCredential'))
    const value = {
      runner_id: RUNNER,
      pool_id: POOL,
      credential: this.credentials.at(-1),
      sync_interval_ms: 500,
      server_time: new Date().toISOString(),
    }
    return [201, value]
  }

  #sync(body: unknown): [number, unknown] {
    const request = SyncRequest.parse(body)
    if (request.boot < this.#lastBoot) return [409, 'boot_superseded']
    if (request.boot > this.#lastBoot) this.#lastSeq = 0
    this.#lastBoot = request.boot
    if (request.seq <= this.#lastSeq) return [200, aReply({ ...this.reply, stale: true })]
    this.#lastSeq = request.seq
    this.syncs.push(request)
    this.onSync(request)
    this.commands = this.commands.filter(command => !request.acks.includes(command.id))
    const listed = new Set(request.leases.map(lease => lease.session_id))
    this.offers = this.offers.filter(offer => !listed.has(offer.session_id))
    const leases = request.leases.map(lease => ({
      session_id: lease.session_id,
      verdict: this.#verdict(lease),
    }))
    const offers = request.draining ? [] : this.offers
    const server_time = new Date().toISOString()
    return [200, aReply({ server_time, offers, commands: this.commands, leases, ...this.reply })]
  }

  #verdict(lease: LeaseReport): 'keep' | 'stop' | 'forget' {
    if (lease.state === 'exited') {
      if (!this.exits.has(lease.session_id)) this.exits.set(lease.session_id, lease)
      this.#live.delete(lease.session_id)
      return 'forget'
    }
    return this.#live.has(lease.session_id) ? 'keep' : 'stop'
  }
}

function send(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
}

function settle(response: ServerResponse, answer: ReturnType<FakeSessionFiles['answer']>): void {
  if ('code' in answer) refuse(response, answer.code, answer.detail, answer)
  else send(response, ...answer)
}

function json(bytes: Buffer): unknown {
  return JSON.parse(bytes.toString('utf8'))
}

function refuse(
  response: ServerResponse,
  code: ErrorCode,
  detail: string,
  { length }: Pick<Refusal, 'length'> = {},
): void {
  const { status, title } = ERRORS[code]
  const request_id = randomBytes(8).toString('hex')
  const problem = { type: 'about:blank', title, status, code, detail, request_id, length }
  response.writeHead(status, { 'content-type': 'application/problem+json' }).end(JSON.stringify(problem))
}
