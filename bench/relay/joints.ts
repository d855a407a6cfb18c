import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { Miniflare } from 'miniflare'
import { WebSocket, WebSocketServer } from 'ws'
import { STREAM_SUBPROTOCOL } from '../../protocol/stream.ts'

/** Something that joins one publisher to viewers: ours, and what it is measured against. */
export interface Joint {
  readonly name: 'relay' | 'bare object' | 'node ws'
  publisher(session: string): Promise<WebSocket>
  viewer(session: string): Promise<WebSocket>
}

export interface Bench {
  readonly joints: readonly Joint[]
  /** Resident memory of the runtime that the relay runs in, in bytes. */
  memory(): number
  stop(): Promise<void>
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

export async function startJoints(): Promise<Bench> {
  const bundle = await build({
    absWorkingDir: ROOT,
    entryPoints: ['bench/relay/objects.ts'],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2024',
    conditions: ['workerd', 'worker', 'browser'],
    external: ['cloudflare:*', 'node:*'],
    logLevel: 'warning',
  })
  const before = new Set(workerds())
  const name = 'relay-bench'
  const object = (exportName: string) => ({ type: 'durable-object', worker: name, exportName }) as const
  const stored = { type: 'durable-object', storage: 'sqlite' } as const
  const miniflare = new Miniflare({
    host: '127.0.0.1',
    port: 0,
    cf: false,
    logRequests: false,
    handleStructuredLogs: () => undefined,
    workers: [
      {
        config: {
          name,
          compatibilityDate: '2026-11-01',
          compatibilityFlags: ['nodejs_compat'],
          manifest: {
            mainModule: 'index.js',
            modules: { 'index.js': { type: 'esm', contents: bundle.outputFiles[0]?.text ?? '' } },
          },
          env: {
            DB: { type: 'd1', id: 'bench' },
            BARE: object('BareForward'),
            SESSION_RELAY: object('SessionRelay'),
            RUNNER_POOL: object('AlwaysLive'),
          },
          exports: { BareForward: stored, SessionRelay: stored, AlwaysLive: stored },
        },
        dev: { rootPath: ROOT, unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }] },
      },
    ],
  })
  await miniflare.ready
  const url = (await miniflare.unsafeGetDirectURL()).href.replace('http', 'ws')
  const node = await startNode()
  const own = workerds().filter(pid => !before.has(pid))
  const dial = (kind: string) => (role: string) => (session: string) =>
    open(`${url}${kind}/${session}/${role}`)
  return {
    joints: [
      {
        name: 'relay',
        publisher: dial('relay')('publisher'),
        viewer: session => open(`${url}relay/${session}/viewer`, [STREAM_SUBPROTOCOL]),
      },
      { name: 'bare object', publisher: dial('bare')('publisher'), viewer: dial('bare')('viewer') },
      node,
    ],
    memory: () => own.reduce((sum, pid) => sum + residentBytes(pid), 0),
    stop: async () => {
      node.stop()
      await miniflare.dispose()
    },
  }
}

async function startNode(): Promise<Joint & { stop(): void }> {
  const rooms = new Map<string, Set<WebSocket>>()
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false })
  server.on('connection', (socket, { url = '' }) => {
    const [, session = '', role] = url.split('/')
    const viewers = rooms.get(session) ?? new Set()
    rooms.set(session, viewers)
    if (role === 'viewer') viewers.add(socket)
    else
      socket.on('message', data => {
        for (const viewer of viewers) viewer.send(data)
      })
  })
  await new Promise(resolve => server.once('listening', resolve))
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : 0
  return {
    name: 'node ws',
    publisher: session => open(`ws://127.0.0.1:${port}/${session}/publisher`),
    viewer: session => open(`ws://127.0.0.1:${port}/${session}/viewer`),
    stop: () => server.close(),
  }
}

function open(url: string, protocols: string[] = []): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, protocols, { perMessageDeflate: false })
    socket.binaryType = 'nodebuffer'
    socket.once('open', () => resolve(socket))
    socket.once('error', reject)
  })
}

function workerds(): number[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(name => commandOf(name).includes('workerd'))
    .map(Number)
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8')
  } catch {
    return ''
  }
}

function residentBytes(pid: number): number {
  const kib = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kib ?? 0) * 1024
}
