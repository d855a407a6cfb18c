import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { read } from './rules-file.ts'

/**
 * The Collector's sample, by the settings that its components document (contrib 0.144 and later): nothing else may be in
 * it. The Collector itself is tried by nobody here.
 */

const Duration = z.string().regex(/^\d+(?:ms|s|m|h)$/)
const Whole = z.number().int().positive()
const FromEnvironment = z.string().regex(/^\$\{env:[A-Z_]+\}$/)
const Address = z.string().regex(/^[\w.]+:\d+$/)

const Collector = z.strictObject({
  extensions: z.strictObject({ bearertokenauth: z.strictObject({ token: FromEnvironment }) }),
  receivers: z.strictObject({
    otlp: z.strictObject({
      protocols: z.strictObject({
        http: z.strictObject({
          endpoint: Address,
          tls: z.strictObject({ cert_file: z.string(), key_file: z.string() }),
          auth: z.strictObject({ authenticator: z.literal('bearertokenauth') }),
        }),
      }),
    }),
  }),
  processors: z.strictObject({
    memory_limiter: z.strictObject({ check_interval: Duration, limit_mib: Whole, spike_limit_mib: Whole }),
    'transform/one_series_over_releases': z.strictObject({
      error_mode: z.enum(['ignore', 'silent', 'propagate']),
      metric_statements: z.array(z.string().regex(/^(?:set|delete_key)\((?:scope|resource)\..+\)$/)),
    }),
    deltatocumulative: z.strictObject({ max_stale: Duration, max_streams: Whole }),
  }),
  exporters: z.strictObject({
    prometheus: z.strictObject({
      endpoint: Address,
      metric_expiration: Duration,
      translation_strategy: z.literal('UnderscoreEscapingWithSuffixes'),
    }),
    'otlp_http/traces': z.strictObject({ endpoint: FromEnvironment }),
  }),
  service: z.strictObject({
    extensions: z.array(z.string()),
    pipelines: z.strictObject({ metrics: pipeline(), traces: pipeline() }),
  }),
})

function pipeline() {
  const names = z.array(z.string()).min(1)
  return z.strictObject({ receivers: names, processors: names, exporters: names })
}

const Prometheus = z.object({
  scrape_configs: z.tuple([
    z.object({
      honor_labels: z.literal(true),
      static_configs: z.tuple([z.object({ targets: z.tuple([Address]) })]),
    }),
  ]),
})

const TEXT = read('collector.yml')
const { service, ...components } = Collector.parse(parse(TEXT))
const { metrics, traces } = service.pipelines

test.for(['receivers', 'processors', 'exporters'] as const)('all %s are defined and used', kind => {
  const used = new Set([...metrics[kind], ...traces[kind]])
  expect([...used].sort()).toEqual(Object.keys(components[kind]).sort())
})

test('who sends has to show a token, which the file does not hold', () => {
  expect(service.extensions).toEqual(Object.keys(components.extensions))
})

test('memory is looked after first, and totals are made of series that are named for good', () => {
  expect(metrics.processors).toEqual([
    'memory_limiter',
    'transform/one_series_over_releases',
    'deltatocumulative',
  ])
  expect(traces.processors[0]).toBe('memory_limiter')
})

test('a series is shown for as long as its total is known', () => {
  const { deltatocumulative } = components.processors
  expect(components.exporters.prometheus.metric_expiration).toBe(deltatocumulative.max_stale)
})

test('Prometheus reads where the Collector shows', () => {
  const [{ static_configs }] = Prometheus.parse(parse(read('prometheus.yml'))).scrape_configs
  const portOf = (address: string) => address.split(':').at(-1)
  expect(portOf(static_configs[0].targets[0])).toBe(portOf(components.exporters.prometheus.endpoint))
})

test('says what it needs in its environment', () => {
  const comments = TEXT.split('\n')
    .filter(line => line.startsWith('#'))
    .join('\n')
  for (const [, name = ''] of TEXT.matchAll(/\$\{env:(\w+)\}/g)) expect(comments).toContain(name)
})
