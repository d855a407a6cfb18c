import { instrument } from '@microlabs/otel-cf-workers'
import { TraceFlags } from '@opentelemetry/api'
import { JsonTraceSerializer } from '@opentelemetry/otlp-transformer'
import type { ReadableSpan, SpanProcessor } from '@opentelemetry/sdk-trace-base'
import { logLine } from '../../durable-objects/log.ts'
import type { OtlpTarget } from '../../durable-objects/settings.ts'
import { post } from '../../durable-objects/telemetry/otlp.ts'
import { VERSION } from '../../protocol/version.ts'

/** A request that was cut off before its spans were sent leaves them behind; of very many the oldest go. */
const TRACES_LIMIT = 256

/**
 * One span for every call of the API. Whether it is kept is decided here, by the trace's id: nobody outside can have
 * more kept than the operator wants to pay for.
 */
export class Traces {
  readonly #target: OtlpTarget
  readonly #config

  constructor(target: OtlpTarget, ratio: number) {
    this.#target = target
    this.#config = {
      service: { name: 'certyn-control-plane', version: VERSION },
      spanProcessors: [new TraceProcessor(this.#target)],
      sampling: { headSampler: { ratio, acceptRemote: false } },
      // What this Worker fetches is telemetry's own.
      instrumentation: { instrumentGlobalFetch: false, instrumentGlobalCache: false },
    }
  }

  /** The handler keeps its own bindings: what the library puts in their place does not know every call of theirs. */
  async trace(
    request: Request<unknown, IncomingRequestCfProperties>,
    context: ExecutionContext,
    handle: () => Promise<Response>,
  ): Promise<Response> {
    const traced = instrument({ fetch: handle }, this.#config)
    return (await traced.fetch?.(request, {}, context)) ?? (await handle())
  }
}

/** Runners sync all the time and assets are files: neither is worth a trace. */
export function isTraced(request: Request): boolean {
  return new URL(request.url).pathname.startsWith('/api/')
}

/** Sends a trace's spans when its request is over, and forgets them, whatever became of it. */
class TraceProcessor implements SpanProcessor {
  readonly #target: OtlpTarget
  readonly #ended = new Map<string, ReadableSpan[]>()
  #isFailing = false

  constructor(target: OtlpTarget) {
    this.#target = target
  }

  onStart(): void {}

  onEnd(span: ReadableSpan): void {
    const { traceId, traceFlags } = span.spanContext()
    if ((traceFlags & TraceFlags.SAMPLED) === 0) return
    // What the library does not know it notes all the same, and some receivers refuse what has no value.
    for (const [name, value] of Object.entries(span.attributes))
      if (value == null) delete span.attributes[name]
    this.#ended.set(traceId, [...(this.#ended.get(traceId) ?? []), span])
    const [oldest] = this.#ended.keys()
    if (oldest !== undefined && this.#ended.size > TRACES_LIMIT) this.#ended.delete(oldest)
  }

  async forceFlush(traceId?: string): Promise<void> {
    const spans = this.#take(traceId)
    if (spans.length === 0) return
    const delivery = await post(this.#target, 'traces', JsonTraceSerializer.serializeRequest(spans))
    // Metrics are refused or lost for the same reason, and their line says what to do.
    const isFailing = delivery.outcome !== 'taken'
    if (isFailing && !this.#isFailing) logLine('warn', 'traces_not_delivered', { reason: delivery.reason })
    this.#isFailing = isFailing
  }

  async shutdown(): Promise<void> {
    await this.forceFlush()
  }

  #take(traceId: string | undefined): ReadableSpan[] {
    const spans = traceId === undefined ? [...this.#ended.values()].flat() : (this.#ended.get(traceId) ?? [])
    if (traceId === undefined) this.#ended.clear()
    else this.#ended.delete(traceId)
    return spans
  }
}
