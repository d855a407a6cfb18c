import {
  Agent,
  createServer,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'

/**
 * The public side of the embedded control plane: takes connections, waits until the runtime is ready, and
 * passes everything on unchanged but for the headers that say who the client is. Those are Cloudflare's to
 * set in production, so here they are this process's: what a client claims is dropped.
 */
export interface Front {
  readonly url: string
  /** Requests that came earlier are passed on now. */
  open(upstream: URL): void
  close(): Promise<void>
}

const CLIENT_ADDRESS = 'cf-connecting-ip'
/** Set by the edge, or by miniflare between its own parts. What Cloudflare Access says is signed, so it may come through. */
const NOT_FROM_CLIENTS = /^(?:cf-(?!access-jwt-assertion$)|mf-|x-real-ip$)/
/** Ours with each neighbour, not the client's with the Worker (RFC 9110, 7.6.1). `upgrade` is handled apart. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'te',
  'upgrade',
])
/** workerd closes an idle connection after 5 s; one that is used again has to be younger. */
const UPSTREAM_IDLE_MS = 3_000
/** Longer than clients keep theirs, so that it is they who close an idle connection. */
const CLIENT_IDLE_MS = 75_000

/** @throws the listen error, EADDRINUSE among them */
export async function listen(host: string, port: number): Promise<Front> {
  const agent = new Agent({ keepAlive: true, timeout: UPSTREAM_IDLE_MS })
  const { promise: upstream, resolve: open } = Promise.withResolvers<URL>()
  const server = createServer({ keepAliveTimeout: CLIENT_IDLE_MS, requestTimeout: 0 })
  const sockets = new Set<Duplex>()
  server.on(
    'request',
    (incoming, outgoing) => void upstream.then(url => passOn(url, agent, incoming, outgoing)),
  )
  server.on('upgrade', (incoming, socket, head) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
    void upstream.then(url => passUpgrade(url, incoming, socket, head))
  })
  await bind(server, host, port)
  return {
    url: addressOf(server, host),
    open,
    close: async () => {
      agent.destroy()
      for (const socket of sockets) socket.destroy()
      server.closeAllConnections()
      await new Promise<void>(resolve => server.close(() => resolve()))
    },
  }
}

function passOn(upstream: URL, agent: Agent, incoming: IncomingMessage, outgoing: ServerResponse): void {
  const forwarded = request(upstream, {
    agent,
    method: incoming.method ?? 'GET',
    path: incoming.url ?? '/',
    headers: requestHeaders(incoming),
    setHost: false,
  })
  forwarded.on('response', response => {
    outgoing.writeHead(response.statusCode ?? 502, response.statusMessage, endToEnd(response.rawHeaders))
    response.pipe(outgoing)
    response.on('error', () => outgoing.destroy())
  })
  forwarded.on('error', () => {
    if (outgoing.headersSent) outgoing.destroy()
    else unavailable(outgoing)
  })
  outgoing.on('close', () => {
    if (!outgoing.writableFinished) forwarded.destroy()
  })
  incoming.on('error', () => forwarded.destroy())
  incoming.pipe(forwarded)
}

function passUpgrade(upstream: URL, incoming: IncomingMessage, client: Duplex, head: Buffer): void {
  const forwarded = request(upstream, {
    method: incoming.method ?? 'GET',
    path: incoming.url ?? '/',
    headers: [
      ...requestHeaders(incoming),
      'Connection',
      'Upgrade',
      'Upgrade',
      incoming.headers.upgrade ?? '',
    ],
    setHost: false,
  })
  forwarded.on('upgrade', (response, server, rest) => {
    const lines = pairs(response.rawHeaders).map(([name, value]) => `${name}: ${value}\r\n`)
    client.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('')}\r\n`)
    if (rest.length > 0) client.write(rest)
    if (head.length > 0) server.write(head)
    server.on('error', () => client.destroy())
    server.on('close', () => client.destroy())
    client.on('close', () => server.destroy())
    server.pipe(client)
    client.pipe(server)
  })
  forwarded.on('response', response => {
    const kept = pairs(endToEnd(response.rawHeaders)).map(([name, value]) => `${name}: ${value}\r\n`)
    client.write(
      `HTTP/1.1 ${response.statusCode} ${response.statusMessage}\r\n${kept.join('')}Connection: close\r\n\r\n`,
    )
    response.pipe(client)
  })
  forwarded.on('error', () => client.destroy())
  client.on('close', () => forwarded.destroy())
  forwarded.end()
}

function requestHeaders(incoming: IncomingMessage): string[] {
  const kept = pairs(endToEnd(incoming.rawHeaders)).filter(
    ([name]) => !NOT_FROM_CLIENTS.test(name.toLowerCase()),
  )
  return [...kept.flat(), CLIENT_ADDRESS, (incoming.socket.remoteAddress ?? '').replace(/^::ffff:/, '')]
}

/** @param raw names and values in turn, as Node gives them */
function endToEnd(raw: readonly string[]): string[] {
  return pairs(raw)
    .filter(([name]) => !HOP_BY_HOP.has(name.toLowerCase()))
    .flat()
}

function pairs(raw: readonly string[]): [string, string][] {
  return raw.flatMap((name, index) =>
    index % 2 === 0 ? [[name, raw[index + 1] ?? ''] as [string, string]] : [],
  )
}

function unavailable(outgoing: ServerResponse): void {
  const problem = {
    type: 'about:blank',
    title: 'Temporarily unable to answer',
    status: 503,
    code: 'overloaded',
    detail: 'the runtime of the control plane is restarting',
    request_id: crypto.randomUUID(),
  }
  outgoing.writeHead(503, { 'content-type': 'application/problem+json', 'retry-after': '1' })
  outgoing.end(JSON.stringify(problem))
}

async function bind(server: Server, host: string, port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

function addressOf(server: Server, host: string): string {
  const { port } = server.address() as AddressInfo
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`
}
