import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { z } from 'zod'

/** deploy/telemetry/rules.yml, and what its queries are made of. */

export const FOLDER = new URL('../../../deploy/telemetry/', import.meta.url).pathname
export const read = (file: string) => readFileSync(`${FOLDER}${file}`, 'utf8')

const Recording = z.strictObject({ record: z.string(), expr: z.string() })
const Alert = z.strictObject({
  alert: z.string(),
  expr: z.string(),
  for: z.string().optional(),
  labels: z.strictObject({ severity: z.enum(['page', 'ticket']) }),
  annotations: z.strictObject({ summary: z.string(), action: z.string(), runbook: z.string() }),
})
const RulesFile = z.strictObject({
  groups: z.tuple([
    z.strictObject({ name: z.literal('certyn-counts'), rules: z.array(Recording) }),
    z.strictObject({ name: z.literal('certyn-alerts'), rules: z.array(Alert) }),
  ]),
})

const [counts, alerts] = RulesFile.parse(parse(read('rules.yml'))).groups
export const ALERTS = alerts.rules
/** What is recorded, by its name. */
export const RECORDS: ReadonlyMap<string, string> = new Map(
  counts.rules.map(({ record, expr }) => [record, expr]),
)

/** Names of metrics and of what is recorded in a query. */
export function namesIn(query: string): string[] {
  return query.match(/\b(?:self_hosted_\w+|certyn:[\w:]+)/g) ?? []
}

/** The metrics that a query is made of in the end. */
export function metricsOf(query: string): string[] {
  return namesIn(query).flatMap(name => {
    const recorded = RECORDS.get(name)
    return recorded === undefined ? [name] : metricsOf(recorded)
  })
}
