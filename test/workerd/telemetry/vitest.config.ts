import { defineConfig } from 'vitest/config'
import { OtlpReceiver } from '../../support/otlp-receiver.ts'
import { workerInWorkerd } from '../../support/worker-in-workerd.ts'

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

export default defineConfig(
  workerInWorkerd(
    {
      name: 'telemetry',
      include: ['test/workerd/telemetry/*.test.ts'],
      setupFiles: ['./test/workerd/setup.ts'],
    },
    { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector' },
    { outboundService: outside as never },
  ),
)
