import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { hasTools } from '../../support/tools.ts'
import { prometheusName, SAMPLE_NAMES } from './prometheus-names.ts'
import { promtool, unanswered } from './promtool.ts'
import { ALERTS, FOLDER, metricsOf, namesIn, RECORDS, read } from './rules-file.ts'

/** The rules are about what the code exports, and Prometheus' own tool runs them. */

const FILES = ['rules.test.yml', 'rules-of-days.test.yml']
const Tests = z.object({
  tests: z.array(
    z.object({
      name: z.string(),
      input_series: z.array(z.object({ series: z.string() })),
      promql_expr_test: z.array(z.object({ exp_samples: z.array(z.object({ labels: z.string() })) })),
    }),
  ),
})
type RuleTest = z.infer<typeof Tests>['tests'][number]

test.for([
  ['self_hosted.runner.sync.requests', '{request}', 'counter', 'self_hosted_runner_sync_requests_total'],
  ['self_hosted.runner.sync.duration', 'ms', 'histogram', 'self_hosted_runner_sync_duration_milliseconds'],
  ['self_hosted.pool.created_at', 's', 'gauge', 'self_hosted_pool_created_at_seconds'],
  ['self_hosted.slots.total', '{slot}', 'gauge', 'self_hosted_slots_total'],
] as const)('behind the Collector %s (%s, %s) is %s', ([name, unit, kind, expected]) => {
  expect(prometheusName(name, unit, kind)).toBe(expected)
})

test('the rules use what is exported, and what they record themselves', () => {
  const known = new Set([...SAMPLE_NAMES, ...RECORDS.keys()])
  const named = [...RECORDS.values(), ...ALERTS.map(({ expr }) => expr)].flatMap(namesIn)
  expect(named.length).toBeGreaterThan(50)
  expect(named.filter(name => !known.has(name))).toEqual([])
})

test('the alerts are the four of the product and three more', () => {
  expect(ALERTS.map(({ alert }) => alert)).toEqual([
    'CertynSyncFailures',
    'CertynRelayTimeouts',
    'CertynRegistrationFailures',
    'CertynLeasesExpire',
    'CertynNoRunnerOnline',
    'CertynOldestWait',
    'CertynRunnersBehind',
  ])
})

test.for(ALERTS)('$alert says what to do, and where more is said', ({ alert, annotations, labels }) => {
  expect(annotations.summary).toContain('$labels.pool')
  expect(annotations.action.length).toBeGreaterThan(40)
  const [file = '', heading = ''] = annotations.runbook.split('#')
  const text = readFileSync(new URL(`../../../${file}`, import.meta.url), 'utf8')
  expect(text.toLowerCase().split('\n')).toContain(`### ${heading.replaceAll('-', ' ')}`)
  const document = readFileSync(new URL('../../../docs/telemetry.md', import.meta.url), 'utf8')
  const row = document.split('\n').find(line => line.startsWith(`| \`${alert}\` `))
  expect(row).toContain(`| ${labels.severity} `)
  expect(row).toContain(`(troubleshooting.md#${heading})`)
})

test.for(ALERTS)(
  '$alert has a scenario in which it fires and one in which it does not',
  ({ alert, expr }) => {
    const scenarios = FILES.flatMap(file => Tests.parse(parse(read(file))).tests)
    const fires = ({ promql_expr_test }: RuleTest) =>
      promql_expr_test.flatMap(one => one.exp_samples).some(({ labels }) => labels.includes(`"${alert}"`))
    const metrics = metricsOf(expr)
    const isAbout = ({ input_series }: RuleTest) =>
      input_series.some(({ series }) => metrics.includes(series.split('{')[0] ?? ''))
    expect(scenarios.filter(fires)).not.toEqual([])
    expect(scenarios.filter(one => isAbout(one) && !fires(one))).not.toEqual([])
  },
)

describe.skipIf(!hasTools('promtool'))('Prometheus', () => {
  test('takes the configuration and the rules', () => {
    expect(promtool('check', 'config', `${FOLDER}prometheus.yml`)).toBe('')
    expect(promtool('check', 'rules', '--lint=all', '--lint-fatal', `${FOLDER}rules.yml`)).toBe('')
  })

  test.for(FILES)('does by the rules what %s expects of them', file => {
    expect(promtool('test', 'rules', `${FOLDER}${file}`)).toBe('')
  })

  test('has something to record under every name', () => {
    expect(unanswered([...RECORDS.keys()])).toBe('')
  })

  test('has no answer where nobody exports what is asked for', () => {
    expect(unanswered(['self_hosted_queue_depth{tennant="of-tenant"}'])).toContain('tennant')
  })
})
