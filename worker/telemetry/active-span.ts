import { trace } from '@opentelemetry/api'

/** Of the span this runs in, in W3C's form. */
export function activeTraceparent(): string | undefined {
  const span = trace.getActiveSpan()?.spanContext()
  if (span === undefined) return undefined
  return `00-${span.traceId}-${span.spanId}-${span.traceFlags.toString(16).padStart(2, '0')}`
}

/** By the route, because paths hold ids. */
export function nameSpan(route: string): void {
  trace.getActiveSpan()?.setAttribute('http.route', route)
}
