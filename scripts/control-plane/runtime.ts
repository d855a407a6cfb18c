import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Miniflare } from 'miniflare'
import { BEFORE_THE_END } from '../../worker/telemetry/before-the-end.ts'
import { checkpointDatabases } from './checkpoint.ts'
import { applyMigrations } from './migrations.ts'

/**
 * The built Worker on workerd, with D1 and the objects on disk. Its socket is on loopback at a port of its
 * own choice and is meant for front.ts only.
 */
export interface Runtime {
  readonly url: URL
  /** Names of the migrations that were applied at this start. */
  readonly migrated: readonly string[]
  /** What a cron trigger does on Cloudflare. */
  runScheduled(): Promise<void>
  stop(): Promise<void>
}

/** As in wrangler.toml, which a test compares. */
export const WORKER = {
  name: 'certyn-self-hosted-runners',
  compatibilityDate: '2026-11-02',
  compatibilityFlags: ['nodejs_compat'],
  limits: { LIMIT_UNAUTHENTICATED: 300, LIMIT_KEY: 6000 },
} as const

const RATE_LIMIT_PERIOD_SECONDS = 60
const DELIVERY_LIMIT_MS = 3_000

export interface RuntimeOptions {
  readonly root: string
  readonly script: string
  /** The built dashboard's folder. */
  readonly assets: string
  readonly stateDir: string
  readonly vars: Readonly<Record<string, string>>
  /** `at` in ms since the epoch. */
  readonly log: (level: string, message: string, at: number) => void
}

/** Resolves once migrations are applied and the Worker takes requests. */
export async function startRuntime(options: RuntimeOptions): Promise<Runtime> {
  dieTogether()
  const data = path.join(options.stateDir, 'data')
  // A process that was killed had no time to.
  if (existsSync(data)) checkpointDatabases(data)
  const keepSignals = signalListeners()
  const miniflare = new Miniflare({
    host: '127.0.0.1',
    port: 0,
    cf: false,
    logRequests: false,
    enableDevRegistry: false,
    telemetry: { enabled: false },
    resourcePersistencePath: data,
    handleStructuredLogs: ({ level, message, timestamp }) => options.log(level, message, timestamp),
    workers: [workerOptions(options)],
  })
  keepSignals()
  try {
    await miniflare.ready
    keepSignals()
    const database = await miniflare.getD1Database('DB')
    const migrated = await applyMigrations(database, path.join(options.root, 'migrations'))
    return {
      url: await miniflare.unsafeGetDirectURL(),
      migrated,
      runScheduled: async () => {
        const worker = await miniflare.getWorker()
        await worker.scheduled({ scheduledTime: new Date() })
      },
      stop: async () => {
        if (options.vars.OTEL_EXPORTER_OTLP_ENDPOINT !== undefined) await deliverMetrics(miniflare)
        await miniflare.dispose()
        checkpointDatabases(data)
      },
    }
  } catch (error) {
    await miniflare.dispose()
    throw error
  }
}

/** What the Worker has counted in its last second. A back end that is down must not keep the process from ending. */
async function deliverMetrics(miniflare: Miniflare): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>(resolve => {
    timer = setTimeout(resolve, DELIVERY_LIMIT_MS)
  })
  const worker = await miniflare.getWorker()
  await Promise.race([worker.scheduled({ cron: BEFORE_THE_END }).catch(() => undefined), late])
  clearTimeout(timer)
}

function workerOptions({
  root,
  script,
  assets,
  vars,
}: RuntimeOptions): ConstructorParameters<typeof Miniflare>[0]['workers'][number] {
  const limit = (namespace: string, perMinute: number) =>
    ({
      type: 'rate-limit',
      namespace,
      simple: { limit: perMinute, period: RATE_LIMIT_PERIOD_SECONDS },
    }) as const
  return {
    config: {
      name: WORKER.name,
      compatibilityDate: WORKER.compatibilityDate,
      compatibilityFlags: [...WORKER.compatibilityFlags],
      manifest: { mainModule: 'index.js', modules: { 'index.js': { type: 'esm', contents: script } } },
      env: {
        ...Object.fromEntries(
          Object.entries(vars).map(([name, value]) => [name, { type: 'text' as const, value }]),
        ),
        DB: { type: 'd1', id: 'certyn' },
        RUNNER_POOL: { type: 'durable-object', worker: WORKER.name, exportName: 'RunnerPool' },
        SESSION_RELAY: { type: 'durable-object', worker: WORKER.name, exportName: 'SessionRelay' },
        SESSION_FILES: { type: 'durable-object', worker: WORKER.name, exportName: 'SessionFiles' },
        BLOBS: { type: 'r2', name: 'certyn' },
        ASSETS: { type: 'assets' },
        LIMIT_UNAUTHENTICATED: limit('1001', WORKER.limits.LIMIT_UNAUTHENTICATED),
        LIMIT_KEY: limit('1002', WORKER.limits.LIMIT_KEY),
      },
      assets: {
        directory: assets,
        hasUserWorker: true,
        runWorkerFirst: true,
        htmlHandling: 'none',
        notFoundHandling: 'none',
      },
      exports: {
        RunnerPool: { type: 'durable-object', storage: 'sqlite' },
        SessionRelay: { type: 'durable-object', storage: 'sqlite' },
        SessionFiles: { type: 'durable-object', storage: 'sqlite' },
      },
    },
    // Straight to the Worker: miniflare's own entry adds development pages, traces in errors and recompression.
    dev: { rootPath: root, unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }] },
  }
}

/** miniflare starts whatever MINIFLARE_WORKERD_PATH names; the wrapper ties workerd's life to this process. */
function dieTogether(): void {
  if (process.platform === 'win32' || process.env.MINIFLARE_WORKERD_PATH !== undefined) return
  const workerd: unknown = createRequire(createRequire(import.meta.url).resolve('miniflare'))('workerd')
  const binary =
    typeof workerd === 'object' && workerd !== null && 'default' in workerd ? workerd.default : workerd
  if (typeof binary !== 'string') return
  process.env.CERTYN_WORKERD = binary
  process.env.MINIFLARE_WORKERD_PATH = fileURLToPath(new URL('./workerd.sh', import.meta.url))
}

/**
 * miniflare ends the process at once on a signal. Here the order of stopping matters, so its listeners go.
 *
 * @returns removes every listener that was added since
 */
function signalListeners(): () => void {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  const known = new Set<unknown>(signals.flatMap(signal => process.listeners(signal)))
  return () => {
    for (const signal of signals) {
      for (const listener of process.listeners(signal)) {
        if (!known.has(listener)) process.off(signal, listener)
      }
    }
  }
}
