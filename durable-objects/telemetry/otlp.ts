import { JsonMetricsSerializer } from '@opentelemetry/otlp-transformer'
import { type Resource, resourceFromAttributes } from '@opentelemetry/resources'
import type { ResourceMetrics } from '@opentelemetry/sdk-metrics'
import { VERSION } from '../../protocol/version.ts'
import type { OtlpTarget } from '../settings.ts'

/**
 * One request of OTLP/HTTP, made where and when it is wanted. The exporters of OpenTelemetry for browsers and for Node
 * repeat by timers of their own, which here would belong to whichever request happened to make them.
 */
const TIMEOUT_MS = 5_000

/** `refused`: this will never be taken, however often it is sent. */
export type Delivery =
  | { readonly outcome: 'taken' }
  | { readonly outcome: 'refused' | 'failed'; readonly reason: string }

/** Those that the protocol says may be sent again. */
const RETRYABLE: ReadonlySet<number> = new Set([429, 502, 503, 504])

export function sendMetrics(target: OtlpTarget, metrics: ResourceMetrics): Promise<Delivery> {
  return post(target, 'metrics', JsonMetricsSerializer.serializeRequest(metrics))
}

/** Never throws, and ends within five seconds. The reason holds no header. */
export async function post(
  { endpoint, headers }: OtlpTarget,
  signal: 'metrics' | 'traces',
  body: Uint8Array | undefined,
): Promise<Delivery> {
  if (body === undefined) return { outcome: 'refused', reason: 'it cannot be written as JSON' }
  try {
    const response = await fetch(`${endpoint}/v1/${signal}`, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json' },
      body: new Uint8Array(body),
      redirect: 'manual',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    await response.body?.cancel()
    if (response.ok) return { outcome: 'taken' }
    const reason = `it answered with status ${response.status}`
    return { outcome: RETRYABLE.has(response.status) ? 'failed' : 'refused', reason }
  } catch (error) {
    return {
      outcome: 'failed',
      reason: error instanceof Error ? `${error.name}: ${error.message}` : 'no answer',
    }
  }
}

/** @param instanceId what tells this source from others that send the same metrics at the same time */
export function resourceOf(instanceId: string): Resource {
  return resourceFromAttributes({
    'service.name': 'certyn-control-plane',
    'service.version': VERSION,
    'service.instance.id': instanceId,
  })
}
