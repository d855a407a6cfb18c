import { type Attributes, type Counter, type Histogram, type Meter, ValueType } from '@opentelemetry/api'
import {
  AggregationTemporality,
  MeterProvider,
  MetricReader,
  type ResourceMetrics,
  type ScopeMetrics,
} from '@opentelemetry/sdk-metrics'
import { VERSION } from '../../protocol/version.ts'
import { logLine } from '../log.ts'
import type { OtlpTarget } from '../settings.ts'
import { CONTROL_PLANE_METER, type Instrument } from './instruments.ts'
import { type Delivery, resourceOf, sendMetrics } from './otlp.ts'

/**
 * Metrics on their way from one source (an isolate of the Worker, a pool's object) to the back end.
 *
 * A point is made once, with its own times, and sent until the back end has answered for it. An answer that got lost
 * makes it come again unchanged, which the Collector's deltatocumulative processor knows by its time and drops. So
 * what is in memory is delivered at least once, or lost with the memory itself, and never holds up anything: nobody
 * waits for an export longer than he wants to, and what does not fit is dropped, oldest first, and logged.
 */
const UNSENT_LIMIT_POINTS = 10_000

/** Collects when it is asked to, and only what came since it was last asked. */
class DeltaReader extends MetricReader {
  constructor() {
    super({ aggregationTemporalitySelector: () => AggregationTemporality.DELTA })
  }
  protected override async onForceFlush(): Promise<void> {}
  protected override async onShutdown(): Promise<void> {}
}

export class MetricsExport {
  readonly #target: OtlpTarget
  readonly #reader = new DeltaReader()
  readonly #meter: Meter
  /** Collected, and not yet answered for. */
  #unsent: ResourceMetrics[] = []
  #hasRecorded = false
  #isFailing = false

  /** @param instanceId what tells this source from others */
  constructor(target: OtlpTarget, instanceId: string) {
    this.#target = target
    const resource = resourceOf(instanceId)
    this.#meter = new MeterProvider({ resource, readers: [this.#reader] }).getMeter(
      CONTROL_PLANE_METER,
      VERSION,
    )
  }

  /** Whether there is anything in memory that the back end has not answered for. */
  get isPending(): boolean {
    return this.#hasRecorded || this.#unsent.length > 0
  }

  counter({ name, unit, description }: Instrument): Pick<Counter, 'add'> {
    const counter = this.#meter.createCounter(name, { unit, description, valueType: ValueType.INT })
    return { add: (value, attributes) => this.#record(() => counter.add(value, attributes)) }
  }

  histogram({ name, unit, description, buckets }: Instrument): Pick<Histogram, 'record'> {
    const advice = buckets === undefined ? {} : { explicitBucketBoundaries: [...buckets] }
    const histogram = this.#meter.createHistogram(name, { unit, description, advice })
    return {
      record: (value, attributes?: Attributes) => this.#record(() => histogram.record(value, attributes)),
    }
  }

  /**
   * One request with all that is in memory and what is given. Never throws.
   * @param more sent along; the caller keeps it until it is taken
   */
  async send(more: ScopeMetrics['metrics'] = []): Promise<Delivery> {
    const resource = await this.#collect()
    const sent = [...this.#unsent]
    const scopeMetrics = sent.flatMap(batch => batch.scopeMetrics)
    if (more.length > 0)
      scopeMetrics.push({ scope: { name: CONTROL_PLANE_METER, version: VERSION }, metrics: more })
    if (scopeMetrics.length === 0) return { outcome: 'taken' }
    const delivery = await sendMetrics(this.#target, { resource, scopeMetrics })
    if (delivery.outcome !== 'failed') this.#unsent = this.#unsent.filter(batch => !sent.includes(batch))
    this.#say(delivery)
    return delivery
  }

  #record(record: () => void): void {
    this.#hasRecorded = true
    record()
  }

  async #collect(): Promise<ResourceMetrics['resource']> {
    this.#hasRecorded = false
    const { resourceMetrics } = await this.#reader.collect()
    if (resourceMetrics.scopeMetrics.length > 0) this.#unsent.push(resourceMetrics)
    let points = this.#unsent.reduce((sum, batch) => sum + pointsOf(batch), 0)
    while (points > UNSENT_LIMIT_POINTS && this.#unsent.length > 1) {
      const dropped = pointsOf(this.#unsent.shift())
      points -= dropped
      logLine('warn', 'metrics_dropped', { points: dropped, remedy: REMEDY })
    }
    return resourceMetrics.resource
  }

  /** Once for a back end that is down, and once when it is back. */
  #say(delivery: Delivery): void {
    const isFailing = delivery.outcome !== 'taken'
    if (isFailing && !this.#isFailing)
      logLine('warn', 'metrics_not_delivered', {
        outcome: delivery.outcome,
        reason: delivery.reason,
        remedy: REMEDY,
      })
    if (!isFailing && this.#isFailing) logLine('info', 'metrics_delivered_again')
    this.#isFailing = isFailing
  }
}

const REMEDY =
  'check OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_HEADERS, and that OTLP over HTTP is taken there'

function pointsOf(batch: ResourceMetrics | undefined): number {
  return (batch?.scopeMetrics ?? [])
    .flatMap(({ metrics }) => metrics)
    .reduce((sum, metric) => sum + metric.dataPoints.length, 0)
}
