import { expect, test } from 'vitest'
import { EXAMPLE, exampleUsage } from '../scripts/docs/costs/costs-reference.ts'
import { listPrice, METERED, monthlyBill, PRICES, type Usage } from '../scripts/docs/costs/prices.ts'
import { busyHour, idleRunner, oneRun, watchedHour } from '../scripts/docs/costs/usage.ts'

/** The arithmetic of docs/costs.md, against what a calculator says. */

const of = (count: (name: (typeof METERED)[number]) => number) =>
  Object.fromEntries(METERED.map(name => [name, count(name)])) as Usage

test('a million of each costs the price list, and what is included costs the plan', () => {
  expect(listPrice(of(() => 1e6))).toBeCloseTo(0.3 + 0.02 + 0.15 + 12.5 + 0.001 + 1 + 1 + 4.5)
  expect(monthlyBill(of(name => PRICES[name].included))).toBe(5)
  expect(monthlyBill(of(name => PRICES[name].included + 1e6))).toBeCloseTo(5 + 19.471)
})

test('an idle runner calls every five minutes, and 129,600 pings a month count as 6,480 requests', () => {
  const idle = idleRunner()
  expect(idle).toMatchObject({ workerRequests: 8640, objectRequests: 8640 + 6480, objectRowsWritten: 720 })
  expect(idle.objectGbSeconds).toBeCloseTo(8640 * 0.005 * 0.128)
  expect(listPrice(idle)).toBeLessThan(0.01)
})

test('an hour of work is 320 syncs, each of which writes a row', () => {
  expect(busyHour()).toMatchObject({ workerRequests: 320, objectRequests: 320, objectRowsWritten: 320 })
})

test('a run is 5 calls about itself and 11 that bring what it left, and 5 alarms', () => {
  const run = oneRun()
  expect(run).toMatchObject({ workerRequests: 16, objectRequests: 21, r2ClassA: 10, d1RowsWritten: 55 })
  expect(run.objectRowsWritten).toBe(6 + 6 + 4 + 4 + 8 + 5 * 2 + 5 + 5 + 11 * 3)
})

test('an hour of watching keeps one object awake', () => {
  expect(watchedHour().objectGbSeconds).toBeCloseTo(460.8)
})

test('the example adds up', () => {
  const { runners, runs, watchedHours } = EXAMPLE
  expect(exampleUsage().workerRequests).toBeCloseTo(runners * (8640 + 176 * 320) + runs * 16)
  expect(exampleUsage().objectGbSeconds).toBeGreaterThan(watchedHours * 460)
})
