import {
  CONTROL_PLANE_INSTRUMENTS,
  CONTROL_PLANE_METER,
} from '../../../durable-objects/telemetry/instruments.ts'
import { RUNNER_INSTRUMENTS, RUNNER_METER } from '../../../runner/telemetry/instruments.ts'

/** What becomes of the instruments behind the Collector, whose prometheus exporter gives them other names. */

type Kind = 'counter' | 'histogram' | 'gauge'

interface Exported {
  readonly meter: string
  readonly instrument: string
  /** As Prometheus has it; of a histogram without `_bucket`, `_sum` and `_count`. */
  readonly name: string
  readonly kind: Kind
  readonly labels: readonly string[]
}

/** Units in braces only say what is counted. */
const UNIT_SUFFIXES: Readonly<Record<string, string>> = { s: '_seconds', ms: '_milliseconds' }

/** The Collector's `UnderscoreEscapingWithSuffixes` (OpenTelemetry's Prometheus compatibility specification). */
export function prometheusName(name: string, unit: string, kind: Kind): string {
  const suffix = unit.startsWith('{') ? '' : UNIT_SUFFIXES[unit]
  if (suffix === undefined) throw new Error(`${name}: nothing is known of the unit ${unit}`)
  return `${labelName(name)}${suffix}${kind === 'counter' ? '_total' : ''}`
}

const labelName = (name: string) => name.replaceAll(/[^a-zA-Z0-9_]/g, '_')

export const EXPORTED: readonly Exported[] = [
  ...CONTROL_PLANE_INSTRUMENTS.map(one => ({ ...one, meter: CONTROL_PLANE_METER })),
  ...Object.values(RUNNER_INSTRUMENTS).map(one => ({
    ...one,
    meter: RUNNER_METER,
    attributes: ['pool', ...one.attributes],
  })),
].map(({ name, unit, kind, meter, attributes }) => ({
  meter,
  instrument: name,
  name: prometheusName(name, unit, kind),
  kind,
  labels: attributes.map(labelName),
}))

/** Every name that a query may use. */
export const SAMPLE_NAMES: readonly string[] = EXPORTED.flatMap(({ name, kind }) =>
  kind === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
)

/** As promtool takes them: one series of everything, each rising. */
export function exampleSeries(): { series: string; values: string }[] {
  return EXPORTED.flatMap(({ meter, name, kind, labels }) => {
    const about = [
      ...labels.map(label => `${label}="of-${label}"`),
      `otel_scope_name="${meter}"`,
      'job="a-service"',
      'instance="a-source"',
    ].join(',')
    const of = (metric: string, more = '') => ({ series: `${metric}{${about}${more}}`, values: '1+1x120' })
    if (kind !== 'histogram') return [of(name)]
    const buckets = ['10', '+Inf'].map(le => of(`${name}_bucket`, `,le="${le}"`))
    return [...buckets, of(`${name}_sum`), of(`${name}_count`)]
  })
}
