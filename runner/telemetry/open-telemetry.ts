import { setGlobalErrorHandler } from '@opentelemetry/core'
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-http'
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus'
import { resourceFromAttributes } from '@opentelemetry/resources'
import { type IMetricReader, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import { VERSION } from '../../protocol/version.ts'
import { sleep } from '../clock.ts'
import { type Log, reasonOf } from '../log.ts'
import { RUNNER_METER } from './instruments.ts'
import { instrumentsOf } from './meters.ts'
import { SessionSpans } from './session-spans.ts'
import type { Telemetry, TelemetryConfig } from './telemetry.ts'

/** The process ends within 10 s of a signal, and a metrics back end that is down must not use up what is left. */
const LAST_EXPORT_LIMIT_MS = 1_000
const EXPORT_TIMEOUT_MS = 10_000
const EXPORT_INTERVAL_MS = 60_000
/** Nobody but this host may read the numbers. */
const PROMETHEUS_HOST = '127.0.0.1'

/** Numbers as they were asked for: pushed by OTLP, shown to Prometheus, or both. */
export async function startOpenTelemetry(config: TelemetryConfig, log: Log): Promise<Telemetry | null> {
  const readers = [otlpReader(config), await prometheusReader(config, log)].filter(one => one !== null)
  if (readers.length === 0) return null
  setGlobalErrorHandler(complaintsTo(log))
  const { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, RUNNER_POOL_ID, RUNNER_NAME } = config
  const resource = resourceFromAttributes({
    'service.name': 'certyn-runner',
    'service.version': VERSION,
    // Unique among those that run, and the same after a restart.
    'service.instance.id': `${RUNNER_POOL_ID}/${RUNNER_NAME}`,
  })
  const spans =
    endpoint === null ? null : new SessionSpans(endpoint, config.OTEL_EXPORTER_OTLP_HEADERS, resource)
  const provider = new MeterProvider({ readers, resource })
  return {
    metrics: {
      ...instrumentsOf(provider.getMeter(RUNNER_METER, VERSION), { pool: RUNNER_POOL_ID }),
      sessionEnded: (session, exit) => spans?.add(session, exit),
    },
    close: async () => {
      const closed = Promise.all([provider.shutdown(), spans?.close()]).catch(complaintsTo(log))
      await Promise.race([closed, sleep(LAST_EXPORT_LIMIT_MS)])
    },
  }
}

function otlpReader({
  OTEL_EXPORTER_OTLP_ENDPOINT,
  OTEL_EXPORTER_OTLP_HEADERS,
}: TelemetryConfig): IMetricReader | null {
  if (OTEL_EXPORTER_OTLP_ENDPOINT === null) return null
  const exporter = new OTLPMetricExporter({
    url: `${OTEL_EXPORTER_OTLP_ENDPOINT}/v1/metrics`,
    headers: { ...OTEL_EXPORTER_OTLP_HEADERS },
    timeoutMillis: EXPORT_TIMEOUT_MS,
  })
  return new PeriodicExportingMetricReader({
    exporter,
    exportIntervalMillis: EXPORT_INTERVAL_MS,
    exportTimeoutMillis: EXPORT_TIMEOUT_MS,
  })
}

/** A port that somebody else has costs the numbers and not the runner. */
async function prometheusReader(
  { RUNNER_METRICS_PORT: port }: TelemetryConfig,
  log: Log,
): Promise<IMetricReader | null> {
  if (port === null) return null
  const exporter = new PrometheusExporter({ host: PROMETHEUS_HOST, port, preventServerStart: true })
  try {
    await exporter.startServer()
    log.info({ url: `http://${PROMETHEUS_HOST}:${port}/metrics` }, 'serving metrics to Prometheus')
    return exporter
  } catch (error) {
    const remedy = 'set RUNNER_METRICS_PORT to a free port and start the runner again'
    log.error({ port, error: reasonOf(error), remedy }, 'metrics cannot be served to Prometheus')
    return null
  }
}

/** Of a back end that is down only the first failure is worth a warning; nothing depends on it. */
function complaintsTo(log: Log): (error: unknown) => void {
  let said = false
  return error => {
    const reason = reasonOf(error).slice(0, 300)
    if (said) log.debug({ error: reason }, 'telemetry was not delivered')
    else {
      const remedy =
        'check OTEL_EXPORTER_OTLP_ENDPOINT and that it takes OTLP over HTTP; later failures are logged as debug'
      log.warn({ error: reason, remedy }, 'telemetry was not delivered; the runner goes on without')
    }
    said = true
  }
}
