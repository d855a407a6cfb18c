import { expect, test } from 'vitest'
import { z } from 'zod'
import { hasTools } from '../../support/tools.ts'
import { EXPORTED, SAMPLE_NAMES } from './prometheus-names.ts'
import { unanswered } from './promtool.ts'
import { metricsOf, namesIn, RECORDS, read } from './rules-file.ts'

/** The dashboards chart what the code exports, all of it, and Prometheus evaluates every query of theirs. */

const DataSource = z.object({ type: z.literal('prometheus'), uid: z.literal('$datasource') })
const Whole = z.number().int().min(0)
const Panel = z.object({
  id: Whole,
  title: z.string().min(1),
  gridPos: z.object({ x: Whole, y: Whole, w: Whole, h: Whole }),
})
const Chart = Panel.extend({
  type: z.enum(['timeseries', 'stat']),
  description: z.string().min(1),
  datasource: DataSource,
  fieldConfig: z.object({ defaults: z.object({ unit: z.string() }) }),
  targets: z.array(z.object({ expr: z.string(), datasource: DataSource })).min(1),
})
const Dashboard = z.object({
  uid: z.string(),
  title: z.string(),
  templating: z.object({
    list: z.tuple([
      z.object({ name: z.literal('datasource'), query: z.literal('prometheus') }),
      z.object({ name: z.literal('pool'), query: z.object({ query: z.string() }), allValue: z.string() }),
    ]),
  }),
  panels: z.array(z.union([Chart, Panel.extend({ type: z.literal('row') })])),
})
type Dashboard = z.infer<typeof Dashboard>

const DASHBOARDS = ['control-plane', 'fleet'].map(name =>
  Dashboard.parse(JSON.parse(read(`grafana/${name}.json`))),
)

function queriesOf({ panels }: Dashboard): string[] {
  return panels.flatMap(panel => (panel.type === 'row' ? [] : panel.targets.map(({ expr }) => expr)))
}

test.for(DASHBOARDS)('every query of $title names what there is, of the pools chosen', dashboard => {
  const known = new Set([...SAMPLE_NAMES, ...RECORDS.keys()])
  const [, pool] = dashboard.templating.list
  for (const query of [...queriesOf(dashboard), pool.query.query]) {
    expect(namesIn(query), query).not.toEqual([])
    expect(namesIn(query).filter(name => !known.has(name))).toEqual([])
  }
  for (const query of queriesOf(dashboard)) expect(query).toContain('pool=~"$pool"')
})

test.skipIf(!hasTools('promtool')).for(DASHBOARDS)(
  'Prometheus has an answer for every query of $title',
  dashboard => {
    const [, pool] = dashboard.templating.list
    const queries = queriesOf(dashboard).map(query => query.replaceAll('$pool', pool.allValue))
    expect(queries.length).toBeGreaterThan(10)
    expect(unanswered(queries)).toBe('')
  },
)

test('they chart every instrument of either meter', () => {
  const queries = DASHBOARDS.flatMap(queriesOf)
  const charted = EXPORTED.filter(({ name, meter, kind }) => {
    const shown = kind === 'histogram' ? `${name}_bucket` : name
    const isShared = EXPORTED.filter(one => one.name === name).length > 1
    return queries.some(
      query =>
        metricsOf(query).includes(shown) && (!isShared || query.includes(`otel_scope_name="${meter}"`)),
    )
  })
  expect(charted).toEqual(EXPORTED)
})

test.for(DASHBOARDS)('the panels of $title are beside one another', ({ panels }) => {
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length)
  const taken = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
    Array.from({ length: w * h }, (_, i) => `${x + (i % w)},${y + Math.floor(i / w)}`),
  )
  expect(new Set(taken).size).toBe(taken.length)
  for (const { gridPos } of panels) expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24)
})

test('Grafana can keep them beside one another', () => {
  expect(new Set(DASHBOARDS.map(({ uid }) => uid)).size).toBe(DASHBOARDS.length)
})
