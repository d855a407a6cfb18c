/** What Cloudflare asks on the Workers Paid plan, in USD, as its documentation had it in November 2026. */
export const PRICES_OF = 'November 2026'

export interface Price {
  readonly what: string
  /** In the plan each month, before anything is billed. */
  readonly included: number
  readonly perMillion: number
  readonly source: string
}

export const PLAN_USD = 5

const WORKERS = 'https://developers.cloudflare.com/workers/platform/pricing/'
const OBJECTS = 'https://developers.cloudflare.com/durable-objects/platform/pricing/'
const D1 = 'https://developers.cloudflare.com/d1/platform/pricing/'
const R2 = 'https://developers.cloudflare.com/r2/pricing/'

export const PRICES = {
  workerRequests: { what: 'requests to the Worker', included: 10e6, perMillion: 0.3, source: WORKERS },
  workerCpuMs: { what: 'milliseconds of its processor', included: 30e6, perMillion: 0.02, source: WORKERS },
  objectRequests: { what: 'requests to objects', included: 1e6, perMillion: 0.15, source: OBJECTS },
  objectGbSeconds: { what: 'GB-seconds of objects', included: 400e3, perMillion: 12.5, source: OBJECTS },
  objectRowsRead: { what: 'rows read by objects', included: 25e9, perMillion: 0.001, source: OBJECTS },
  objectRowsWritten: { what: 'rows written by objects', included: 50e6, perMillion: 1, source: OBJECTS },
  d1RowsWritten: { what: 'rows written in D1', included: 50e6, perMillion: 1, source: D1 },
  r2ClassA: { what: 'writes to R2', included: 1e6, perMillion: 4.5, source: R2 },
} as const satisfies Record<string, Price>

export type Metered = keyof typeof PRICES
export type Usage = Readonly<Record<Metered, number>>

export const METERED = Object.keys(PRICES) as Metered[]

/** @returns USD, without the plan's own price, when nothing of it is included */
export function listPrice(usage: Usage): number {
  return METERED.reduce((sum, name) => sum + (usage[name] / 1e6) * PRICES[name].perMillion, 0)
}

/** @returns USD a month, the plan's own price among it */
export function monthlyBill(usage: Usage): number {
  const beyond = (name: Metered) => Math.max(0, usage[name] - PRICES[name].included)
  return METERED.reduce((sum, name) => sum + (beyond(name) / 1e6) * PRICES[name].perMillion, PLAN_USD)
}
