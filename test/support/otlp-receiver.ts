import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { z } from 'zod'

/**
 * An OTLP/HTTP receiver on loopback that understands what it is sent: requests are parsed by the shape of OTLP's JSON
 * (opentelemetry-proto, JSON mapping), and counts are added up as the Collector's deltatocumulative processor does it.
 */

const Int = z.union([
  z.number().int(),
  z
    .string()
    .regex(/^-?\d+$/)
    .transform(Number),
])
const Nanos = z.union([z.string().regex(/^\d+$/), z.number().int()]).transform(BigInt)
const Value = z.union([
  z.strictObject({ stringValue: z.string() }).transform(one => one.stringValue),
  z.strictObject({ intValue: Int }).transform(one => one.intValue),
  z.strictObject({ doubleValue: z.number() }).transform(one => one.doubleValue),
  z.strictObject({ boolValue: z.boolean() }).transform(one => one.boolValue),
])
const Attributes = z
  .array(z.strictObject({ key: z.string().min(1), value: Value }))
  .transform(pairs => Object.fromEntries(pairs.map(({ key, value }) => [key, value])))
const Resource = z.object({ attributes: Attributes })
const Scope = z.object({ name: z.string(), version: z.string() })

const Times = { startTimeUnixNano: Nanos, timeUnixNano: Nanos, attributes: Attributes }
const NumberPoint = z
  .object({ ...Times, asInt: Int.optional(), asDouble: z.number().optional() })
  .refine(point => (point.asInt === undefined) !== (point.asDouble === undefined), 'exactly one value')
  .transform(({ asInt, asDouble, ...rest }) => ({ ...rest, value: asInt ?? asDouble ?? Number.NaN }))
const HistogramPoint = z
  .object({
    ...Times,
    count: Int,
    sum: z.number().optional(),
    bucketCounts: z.array(Int),
    explicitBounds: z.array(z.number()),
  })
  .refine(
    point => point.bucketCounts.length === point.explicitBounds.length + 1,
    'one bucket more than bounds',
  )
  .refine(
    point => point.bucketCounts.reduce((a, b) => a + b, 0) === point.count,
    'buckets add up to the count',
  )
  .transform(point => ({ ...point, value: point.count }))

const DELTA = 1
const Temporality = z.union([z.literal(DELTA), z.literal(2)])
const Metric = z
  .object({
    name: z.string(),
    description: z.string(),
    unit: z.string(),
    sum: z
      .object({
        aggregationTemporality: Temporality,
        isMonotonic: z.literal(true),
        dataPoints: z.array(NumberPoint),
      })
      .optional(),
    gauge: z.object({ dataPoints: z.array(NumberPoint) }).optional(),
    histogram: z
      .object({ aggregationTemporality: Temporality, dataPoints: z.array(HistogramPoint) })
      .optional(),
  })
  .transform(({ name, description, unit, sum, gauge, histogram }, context) => {
    const about = { name, description, unit }
    if (sum)
      return {
        ...about,
        type: 'counter' as const,
        temporality: sum.aggregationTemporality,
        points: sum.dataPoints,
      }
    if (gauge) return { ...about, type: 'gauge' as const, temporality: null, points: gauge.dataPoints }
    if (histogram)
      return {
        ...about,
        type: 'histogram' as const,
        temporality: histogram.aggregationTemporality,
        points: histogram.dataPoints,
      }
    context.addIssue(`${name} holds no data of a known kind`)
    return z.NEVER
  })
const MetricsRequest = z.strictObject({
  resourceMetrics: z.array(
    z.object({
      resource: Resource,
      scopeMetrics: z.array(z.object({ scope: Scope, metrics: z.array(Metric) })),
    }),
  ),
})

const Span = z.object({
  traceId: z.string().regex(/^[0-9a-f]{32}$/),
  spanId: z.string().regex(/^[0-9a-f]{16}$/),
  parentSpanId: z
    .string()
    .regex(/^[0-9a-f]{16}$/)
    .optional(),
  name: z.string(),
  kind: z.number().int(),
  startTimeUnixNano: Nanos,
  endTimeUnixNano: Nanos,
  attributes: Attributes,
  status: z.object({ code: z.number().int() }),
})
const TracesRequest = z.strictObject({
  resourceSpans: z.array(
    z.object({ resource: Resource, scopeSpans: z.array(z.object({ spans: z.array(Span) })) }),
  ),
})

type MetricValue = z.output<typeof Metric>
export type Point = MetricValue['points'][number]
export type ReceivedSpan = z.output<typeof Span> & { readonly service: unknown }

export interface Received {
  readonly resource: Readonly<Record<string, unknown>>
  readonly scope: string
  readonly metric: Omit<MetricValue, 'points'>
  readonly point: Point
}

export class OtlpReceiver {
  readonly received: Received[] = []
  readonly spans: ReceivedSpan[] = []
  /** What was sent and is no OTLP. */
  readonly wrong: string[] = []
  readonly headers: IncomingMessage['headers'][] = []
  /** Points that came again: the same stream, no later than what was there. */
  repeated = 0
  /** Takes in and confirms; takes in and loses the answer; answers 503; never answers. */
  mood: 'well' | 'forgetful' | 'failing' | 'hanging' = 'well'
  requests = 0
  /** Requests whose senders still wait for an answer that does not come. */
  unanswered = 0
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  /** The newest time of every stream that counts up by deltas. */
  readonly #streams = new Map<string, bigint>()

  private constructor() {
    this.#server = createServer((request, response) => void this.#take(request, response))
    this.#server.on('connection', socket => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
  }

  static async start(): Promise<OtlpReceiver> {
    const receiver = new OtlpReceiver()
    await new Promise<void>(resolve => receiver.#server.listen(0, '127.0.0.1', resolve))
    return receiver
  }

  /** It, and whoever is connected to it, keeps no process alive. */
  unref(): void {
    this.#server.unref()
    this.#server.on('connection', socket => socket.unref())
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise(resolve => this.#server.close(resolve))
  }

  points(name: string, where: Readonly<Record<string, unknown>> = {}, scope?: string): Received[] {
    return this.received.filter(
      one =>
        one.metric.name === name &&
        (scope === undefined || one.scope === scope) &&
        Object.entries(where).every(([key, value]) => one.point.attributes[key] === value),
    )
  }

  /** What a counter counts by now, or a histogram's number of values, over all of its streams. */
  total(name: string, where: Readonly<Record<string, unknown>> = {}, scope?: string): number {
    const totals = new Map<string, number>()
    for (const one of this.points(name, where, scope)) {
      const stream = streamOf(one)
      const before = one.metric.temporality === DELTA ? (totals.get(stream) ?? 0) : 0
      totals.set(stream, before + one.point.value)
    }
    return [...totals.values()].reduce((a, b) => a + b, 0)
  }

  /** The newest value of a gauge. */
  latest(name: string, where: Readonly<Record<string, unknown>> = {}): number | undefined {
    return this.points(name, where).at(-1)?.point.value
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests += 1
    this.headers.push(request.headers)
    const body = (await buffer(request)).toString('utf8')
    if (this.mood === 'hanging') {
      this.unanswered += 1
      request.socket.once('close', () => {
        this.unanswered -= 1
      })
      return
    }
    if (this.mood === 'failing') return void response.writeHead(503).end()
    try {
      this.#read(request, body)
    } catch (error) {
      this.wrong.push(`${request.method} ${request.url}: ${String(error)}: ${body.slice(0, 2000)}`)
      return void response.writeHead(400).end()
    }
    if (this.mood === 'forgetful') return void request.socket.destroy()
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
  }

  #read({ method, url, headers }: IncomingMessage, body: string): void {
    if (method !== 'POST' || headers['content-type'] !== 'application/json')
      throw new Error('not OTLP over HTTP')
    if (url === '/v1/traces') return this.#readTraces(TracesRequest.parse(JSON.parse(body)))
    if (url !== '/v1/metrics') throw new Error('no such signal')
    for (const { resource, scopeMetrics } of MetricsRequest.parse(JSON.parse(body)).resourceMetrics) {
      for (const { scope, metrics } of scopeMetrics) {
        for (const { points, ...metric } of metrics) {
          for (const point of points)
            this.#add({ resource: resource.attributes, scope: scope.name, metric, point })
        }
      }
    }
  }

  #add(one: Received): void {
    if (one.metric.temporality === DELTA) {
      const stream = streamOf(one)
      const newest = this.#streams.get(stream) ?? 0n
      if (one.point.timeUnixNano <= newest) {
        this.repeated += 1
        return
      }
      this.#streams.set(stream, one.point.timeUnixNano)
    }
    this.received.push(one)
  }

  #readTraces({ resourceSpans }: z.output<typeof TracesRequest>): void {
    for (const { resource, scopeSpans } of resourceSpans) {
      const service = resource.attributes['service.name']
      for (const { spans } of scopeSpans) this.spans.push(...spans.map(span => ({ ...span, service })))
    }
  }
}

/** What makes two points of one stream, as OpenTelemetry's data model has it. */
function streamOf({ resource, scope, metric, point }: Received): string {
  const sorted = (record: Readonly<Record<string, unknown>>) =>
    Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify([sorted(resource), scope, metric.name, sorted(point.attributes)])
}
