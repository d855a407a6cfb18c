import { cloudflareTest, readD1Migrations } from '@cloudflare/vitest-plugin'
import { defineConfig } from 'vitest/config'
import { OtlpReceiver } from '../../support/otlp-receiver.ts'
import { WORKERS } from '../../support/workers.ts'

const root = new URL('../../../', import.meta.url).pathname

/** By host name. */
const receivers = new Map<string, Promise<OtlpReceiver>>()

async function start(): Promise<OtlpReceiver> {
  const receiver = await OtlpReceiver.start()
  receiver.unref()
  return receiver
}

/** Metrics back ends, and `http://control/<host name>`: what one has seen (GET), and its mood (PUT). */
async function outside(request: Request): Promise<Response> {
  const { hostname, pathname } = new URL(request.url)
  const name = hostname === 'control' ? pathname.slice(1) : hostname
  const starting = receivers.get(name) ?? start()
  receivers.set(name, starting)
  const receiver = await starting
  if (hostname !== 'control') {
    return fetch(`${receiver.url}${pathname}`, {
      method: request.method,
      headers: { 'content-type': request.headers.get('content-type') ?? '' },
      body: await request.arrayBuffer(),
      // Longer than the Worker waits, and no longer than the tests run.
      signal: AbortSignal.timeout(8_000),
    })
  }
  if (request.method === 'PUT') receiver.mood = (await request.text()) as OtlpReceiver['mood']
  const { received, requests, repeated, wrong } = receiver
  const points = received.map(({ metric, point, resource }) => ({
    name: metric.name,
    value: point.value,
    attributes: point.attributes,
    instance: resource['service.instance.id'],
  }))
  return Response.json({ requests, repeated, wrong, points })
}

export default defineConfig({
  plugins: [
    cloudflareTest(async () => ({
      main: `${root}worker/index.ts`,
      miniflare: {
        compatibilityDate: '2026-11-01',
        compatibilityFlags: ['nodejs_compat'],
        d1Databases: { DB: 'directory' },
        durableObjects: {
          RUNNER_POOL: { className: 'RunnerPool', useSQLite: true },
          SESSION_RELAY: { className: 'SessionRelay', useSQLite: true },
          SESSION_FILES: { className: 'SessionFiles', useSQLite: true },
        },
        r2Buckets: { BLOBS: 'blobs' },
        outboundService: outside as never,
        bindings: {
          MIGRATIONS: await readD1Migrations(`${root}migrations`),
          Features__SelfHostedRunnersEnabled: 'true',
          OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector',
        },
      },
    })),
  ],
  test: {
    name: 'telemetry',
    maxWorkers: WORKERS,
    root,
    include: ['test/workerd/telemetry/*.test.ts'],
    setupFiles: ['./test/workerd/setup.ts'],
    // The clock is the tests' own; a busy machine only takes longer.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
})
