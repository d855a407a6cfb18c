import { beforeEach, expect, test, vi } from 'vitest'
import { WORKER_INSTRUMENTS } from '../../../durable-objects/telemetry/instruments.ts'
import { MetricsExport } from '../../../durable-objects/telemetry/metrics-export.ts'
import { WorkerMetrics } from '../../../worker/telemetry/worker-metrics.ts'
import { pass } from '../world.ts'
import { BackEnd } from './back-end.ts'

/** What an isolate of the Worker counts, and how it gets rid of it. */

const backEnd = new BackEnd('of-the-worker')
const TARGET = { endpoint: backEnd.endpoint, headers: {} }
const { syncRequests } = WORKER_INSTRUMENTS

let poolId: string

beforeEach(async () => {
  poolId = `pool-${crypto.randomUUID()}`
  await backEnd.is('well')
})

/** As many requests as are given, each of which would let itself be kept alive. */
function requests(metrics: WorkerMetrics, count: number): Promise<void>[] {
  const kept: Promise<void>[] = []
  for (let i = 0; i < count; i++) {
    metrics.syncEnded(poolId, null)
    metrics.flush(work => kept.push(work))
  }
  return kept
}

test('one request carries what a hundred have counted, in one export', async () => {
  const before = (await backEnd.seen()).requests
  const kept = requests(new WorkerMetrics(TARGET), 100)
  expect(kept).toHaveLength(1)
  await Promise.all(kept)
  expect(await backEnd.total(poolId, syncRequests)).toBe(100)
  expect((await backEnd.seen()).requests - before).toBe(1)
})

test('what comes while it carries is carried too, and the next one begins after it', async () => {
  const metrics = new WorkerMetrics(TARGET)
  const first = requests(metrics, 1)
  await vi.waitFor(async () => expect(await backEnd.total(poolId, syncRequests)).toBe(1), 30_000)
  expect(requests(metrics, 2).length + first.length).toBeLessThanOrEqual(2)
  await vi.waitFor(async () => expect(await backEnd.total(poolId, syncRequests)).toBe(3), 30_000)
  await Promise.all(first)
  expect(requests(metrics, 1)).toHaveLength(1)
})

test('a back end that comes back in time is told everything, once', async () => {
  vi.spyOn(console, 'warn').mockImplementation(() => {})
  await backEnd.is('failing')
  const before = (await backEnd.seen()).requests
  const kept = requests(new WorkerMetrics(TARGET), 3)
  await vi.waitFor(async () => expect((await backEnd.seen()).requests).toBeGreaterThan(before), 30_000)
  await backEnd.is('well')
  await Promise.all(kept)
  expect(await backEnd.total(poolId, syncRequests)).toBe(3)
})

test('a request that was cut off while it carried is followed by another, which has lost nothing', async () => {
  await backEnd.is('hanging')
  const metrics = new WorkerMetrics(TARGET)
  const before = (await backEnd.seen()).requests
  expect(requests(metrics, 1)).toHaveLength(1)
  await vi.waitFor(async () => expect((await backEnd.seen()).requests).toBeGreaterThan(before), 30_000)
  expect(requests(metrics, 1)).toHaveLength(0)
  await backEnd.is('well')
  pass(30_000)
  const kept = requests(metrics, 1)
  expect(kept).toHaveLength(1)
  await Promise.all(kept)
  expect(await backEnd.total(poolId, syncRequests)).toBe(3)
})

test('a back end that is down takes up a bounded amount of memory: the oldest goes, and that is said', async () => {
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
  await backEnd.is('failing')
  const toBackEnd = new MetricsExport(TARGET, poolId)
  const counter = toBackEnd.counter(syncRequests)
  const rounds = 12
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < 1_500; i++) counter.add(1, { pool: poolId, i: `${round}-${i}` })
    expect((await toBackEnd.send()).outcome).toBe('failed')
  }
  const said = warn.mock.calls.flat().map(String)
  expect(said.filter(line => line.includes('metrics_not_delivered'))).toHaveLength(1)
  const dropped = said.filter(line => line.includes('"event":"metrics_dropped"'))
  expect(dropped.length).toBeGreaterThan(0)
  await backEnd.is('well')
  expect((await toBackEnd.send()).outcome).toBe('taken')
  const kept = await backEnd.total(poolId, syncRequests)
  expect(kept).toBe((rounds - dropped.length) * 1_500)
  expect(kept).toBeLessThanOrEqual(10_000)
  expect(toBackEnd.isPending).toBe(false)
})
