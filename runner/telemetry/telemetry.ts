import type { Config } from '../config.ts'
import type { Log } from '../log.ts'
import { NO_METRICS, type RunnerMetrics } from './instruments.ts'

export interface Telemetry {
  readonly metrics: RunnerMetrics
  /** Sends what is left, within a second. Never throws. */
  close(): Promise<void>
}

export type TelemetryConfig = Pick<
  Config,
  | 'OTEL_EXPORTER_OTLP_ENDPOINT'
  | 'OTEL_EXPORTER_OTLP_HEADERS'
  | 'RUNNER_METRICS_PORT'
  | 'RUNNER_NAME'
  | 'RUNNER_POOL_ID'
>

const NONE: Telemetry = { metrics: NO_METRICS, close: async () => undefined }

/** Where nobody asked for numbers nothing is counted, and OpenTelemetry is not even loaded. */
export async function startTelemetry(config: TelemetryConfig, log: Log): Promise<Telemetry> {
  if (config.OTEL_EXPORTER_OTLP_ENDPOINT === null && config.RUNNER_METRICS_PORT === null) return NONE
  const { startOpenTelemetry } = await import('./open-telemetry.ts')
  return (await startOpenTelemetry(config, log)) ?? NONE
}
