import { ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, trace } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import type { Resource } from '@opentelemetry/resources'
import { BasicTracerProvider, BatchSpanProcessor, RandomIdGenerator } from '@opentelemetry/sdk-trace-base'
import type { Exit } from '../../protocol/runner-api.ts'
import { VERSION } from '../../protocol/version.ts'
import { RUNNER_METER, type SessionFacts } from './instruments.ts'
import { sessionSpanId } from './traceparent.ts'

const EXPORT_TIMEOUT_MS = 10_000

/** One span for every session of a run whose creation was traced and sampled, made when the session has ended. */
export class SessionSpans {
  readonly #provider: BasicTracerProvider
  #nextSpanId = ''

  constructor(endpoint: string, headers: Readonly<Record<string, string>>, resource: Resource) {
    const exporter = new OTLPTraceExporter({
      url: `${endpoint}/v1/traces`,
      headers: { ...headers },
      timeoutMillis: EXPORT_TIMEOUT_MS,
    })
    const random = new RandomIdGenerator()
    this.#provider = new BasicTracerProvider({
      resource,
      spanProcessors: [new BatchSpanProcessor(exporter)],
      idGenerator: {
        generateTraceId: () => random.generateTraceId(),
        generateSpanId: () => this.#nextSpanId,
      },
    })
  }

  add({ traceparent, ...session }: SessionFacts, exit: Exit): void {
    const [, traceId, spanId, flags] = traceparent?.split('-') ?? []
    if (traceId === undefined || spanId === undefined || flags === undefined) return
    const traceFlags = Number.parseInt(flags, 16) & TraceFlags.SAMPLED
    const parent = trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true })
    this.#nextSpanId = sessionSpanId(session.session_id)
    const finishedAt = session.finished_at === null ? new Date() : new Date(session.finished_at)
    const span = this.#provider.getTracer(RUNNER_METER, VERSION).startSpan(
      'session',
      {
        kind: SpanKind.CONSUMER,
        startTime: session.started_at === null ? finishedAt : new Date(session.started_at),
        attributes: {
          'certyn.run_id': session.run_id,
          'certyn.session_id': session.session_id,
          'certyn.attempt': session.attempt,
          'container.image.name': session.job.image,
          'certyn.exit.reason': exit.reason,
          ...(exit.code !== null && { 'process.exit.code': exit.code }),
        },
      },
      parent,
    )
    const isWell = exit.reason === 'exited' && exit.code === 0
    if (!isWell) span.setStatus({ code: SpanStatusCode.ERROR })
    span.end(finishedAt)
  }

  close(): Promise<void> {
    return this.#provider.shutdown()
  }
}
