import { table } from '../table.ts'
import { listPrice, METERED, monthlyBill, PLAN_USD, PRICES, PRICES_OF, type Usage } from './prices.ts'
import { ASSUMED, busyHour, chattyHour, idleRunner, oneRun, plus, times, watchedHour } from './usage.ts'

/** What things cost, reckoned from counts and prices, as Markdown. */

const WORKING_HOURS = 8 * 22

/** A team of middling size; monthly. */
export const EXAMPLE = { runners: 20, runs: 20_000, watchedHours: 40 } as const

export function exampleUsage(): Usage {
  const { runners, runs, watchedHours } = EXAMPLE
  return plus(
    times(runners, idleRunner()),
    times(runners * WORKING_HOURS, busyHour()),
    times(runs, oneRun()),
    times(watchedHours, watchedHour()),
  )
}

export function costsReference(): string {
  const things: [string, Usage][] = [
    ['an idle runner, a month', idleRunner()],
    ['a runner with work, an hour', busyHour()],
    ['1,000 runs', times(1000, oneRun())],
    ['a job that writes all the time, an hour', chattyHour()],
    ['a live view, an hour', watchedHour()],
  ]
  const example = exampleUsage()
  return [
    `## Prices\n\nAs Cloudflare's documentation has them in ${PRICES_OF}, on the paid plan, which is ${PLAN_USD} USD a month and includes some of each.\nCheck what they are today: the links lead there.\n\n${priceTable()}`,
    `## What each thing takes\n\n${usageTable(things)}`,
    `The last column is what it comes to at list price, with nothing included. Assumed are ${ASSUMED.callMs} ms a call, ${ASSUMED.logChunks} pieces of log\nand ${ASSUMED.artifacts} artifacts a run with ${ASSUMED.rowsPerUpload} rows for each call that brings them, and ${ASSUMED.framesPerSecond} frames a second of one viewer.`,
    `## An example\n\n${EXAMPLE.runners} runners, of which all have work for 8 hours on 22 days, ${whole(EXAMPLE.runs)} runs and ${EXAMPLE.watchedHours} hours of live views a month:\n\n${exampleTable(example)}\n\nThe bill is ${usd(monthlyBill(example))} USD a month, the plan's ${PLAN_USD} among it.`,
  ].join('\n\n')
}

function priceTable(): string {
  return table(
    ['what', 'included a month', 'USD a million', 'source'],
    METERED.map(name => {
      const { what, included, perMillion, source } = PRICES[name]
      return [what, whole(included), `${perMillion}`, `[Cloudflare](${source})`]
    }),
  )
}

const COLUMNS = [
  ['Worker requests', 'workerRequests'],
  ['object requests', 'objectRequests'],
  ['GB-seconds', 'objectGbSeconds'],
  ['object rows written', 'objectRowsWritten'],
  ['D1 rows written', 'd1RowsWritten'],
  ['R2 writes', 'r2ClassA'],
] as const

function usageTable(things: readonly (readonly [string, Usage])[]): string {
  return table(
    ['', ...COLUMNS.map(([title]) => title), 'USD'],
    things.map(([what, usage]) => [
      what,
      ...COLUMNS.map(([, name]) => whole(usage[name])),
      usd(listPrice(usage)),
    ]),
  )
}

function exampleTable(usage: Usage): string {
  return table(
    ['what', 'a month', 'included', 'USD beyond it'],
    METERED.map(name => {
      const { what, included, perMillion } = PRICES[name]
      const beyond = Math.max(0, usage[name] - included)
      return [what, whole(usage[name]), whole(included), usd((beyond / 1e6) * perMillion)]
    }),
  )
}

function whole(count: number): string {
  return Math.round(count).toLocaleString('en-US')
}

/** With as many digits as say something. */
function usd(amount: number): string {
  return amount === 0 ? '0' : amount.toFixed(amount < 0.01 ? 4 : amount < 1 ? 3 : 2)
}
