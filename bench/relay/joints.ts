import { type ChildProcess, fork } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { Miniflare } from 'miniflare'
import { WebSocket } from 'ws'
import { STREAM_SUBPROTOCOL } from '../../protocol/stream.ts'

/** Something that joins one publisher to viewers: ours, and what it is measured against. */
export interface Joint {
  readonly name: 'relay' | 'bare object' | 'node ws'
  publisher(session: string): Promise<WebSocket>
  viewer(session: string): Promise<WebSocket>
  /** Of the process that it runs in. */
  cpuMs(): number
  memoryBytes(): number
}

export interface Bench {
  readonly joints: { readonly relay: Joint; readonly bare: Joint; readonly node: Joint }
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
  const name = 'relay-bench'
  const object = (exportName: string) => ({ type: 'durable-object', worker: name, exportName }) as const
  const stored = { type: 'durable-object', storage: 'sqlite' } as const
  const before = new Set(workerdIds())
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
  const workerd = workerdIds().find(id => !before.has(id))
  const nodeId = node.process.pid
  if (workerd === undefined || nodeId === undefined) throw new Error('a joint did not start')
  const dial = (kind: string) => (role: string) => (session: string) =>
    open(`${url}${kind}/${session}/${role}`)
  return {
    joints: {
      relay: {
        name: 'relay',
        publisher: dial('relay')('publisher'),
        viewer: session => open(`${url}relay/${session}/viewer`, [STREAM_SUBPROTOCOL]),
        cpuMs: () => cpuMs(workerd),
        memoryBytes: () => residentBytes(workerd),
      },
      bare: {
        name: 'bare object',
        publisher: dial('bare')('publisher'),
        viewer: dial('bare')('viewer'),
        cpuMs: () => cpuMs(workerd),
        memoryBytes: () => residentBytes(workerd),
      },
      node: {
        name: 'node ws',
        publisher: session => open(`ws://127.0.0.1:${node.port}/${session}/publisher`),
        viewer: session => open(`ws://127.0.0.1:${node.port}/${session}/viewer`),
        cpuMs: () => cpuMs(String(nodeId)),
        memoryBytes: () => residentBytes(String(nodeId)),
      },
    },
    stop: async () => {
      node.process.kill()
      await miniflare.dispose()
    },
  }
}

async function startNode(): Promise<{ readonly port: number; readonly process: ChildProcess }> {
  const child = fork(fileURLToPath(new URL('node-joint.ts', import.meta.url)))
  const port = await new Promise<number>(resolve => child.once('message', port => resolve(Number(port))))
  return { port, process: child }
}

function open(url: string, protocols: string[] = []): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, protocols, { perMessageDeflate: false })
    socket.binaryType = 'nodebuffer'
    socket.once('open', () => resolve(socket))
    socket.once('error', reject)
  })
}

/** Of this process's own: others may run on the machine. */
function workerdIds(): string[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(id => statusOf(id, 'Name') === 'workerd' && statusOf(id, 'PPid') === String(process.pid))
}

function statusOf(id: string, field: string): string {
  try {
    const status = readFileSync(`/proc/${id}/status`, 'utf8')
    return new RegExp(`^${field}:\\s+(\\S+)`, 'm').exec(status)?.[1] ?? ''
  } catch {
    // It has ended meanwhile.
    return ''
  }
}

function residentBytes(id: string): number {
  return Number(statusOf(id, 'VmRSS')) * 1024
}

const TICKS_PER_SECOND = 100

/** User and system time so far. */
function cpuMs(id: string): number {
  const fields = readFileSync(`/proc/${id}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND
}
