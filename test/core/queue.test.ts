import { describe, expect, test, vi } from 'vitest'
import type { LaneKey } from '../../durable-objects/runner-pool/core/model.ts'
import { missingLabels } from '../../durable-objects/runner-pool/core/placement.ts'
import { QueueTable } from '../../durable-objects/runner-pool/store/queue.ts'
import { migrate } from '../../durable-objects/runner-pool/store/schema.ts'
import { PoolStore } from '../../durable-objects/runner-pool/store/store.ts'
import { MemorySql } from '../support/memory-sql.ts'

function newQueue(): QueueTable {
  const sql = new MemorySql()
  migrate(sql)
  return new QueueTable(sql)
}

function key(more: Partial<LaneKey>): LaneKey {
  return { labels: {}, memoryMb: 1, forbidden: [], retried: false, ...more }
}

function waiting(runId: string, queuedAt: number) {
  return { runId, queuedAt, priority: 0, pauses: [] }
}

/** Every set of up to three labels out of these, and the plain one. */
const LABELS = ['os=linux', 'os=mac', 'zone=a', 'zone=b', 'gpu=no', 'note=a=b']
const LABEL_SETS = LABELS.flatMap((one, i) =>
  LABELS.slice(i).flatMap((two, j) => LABELS.slice(i + j).map(three => [one, two, three])),
)
  .map(labels => Object.fromEntries(labels.map(label => label.split(/=(.*)/s).slice(0, 2))))
  .concat({})

describe('the lanes a runner looks at', () => {
  test('hold every lane whose labels it has and whose memory fits, whatever other lanes there are', () => {
    const queue = newQueue()
    for (const [i, labels] of LABEL_SETS.entries()) {
      for (const memoryMb of [0, 100 * (1 + (i % 5)), 512]) {
        queue.push(key({ labels, memoryMb }), waiting(`run_${i}_${memoryMb}`, i))
      }
    }
    for (const labels of LABEL_SETS) {
      for (const memoryMb of [0, 250, 512, null]) {
        const fits = queue
          .lanes()
          .filter(lane => missingLabels(lane.labels, labels).length === 0)
          .filter(lane => memoryMb === null || lane.memoryMb <= memoryMb)
        const found = new Set(queue.lanesFor(labels, memoryMb).map(lane => lane.id))
        expect(fits.length).toBeGreaterThan(0)
        expect(fits.filter(lane => !found.has(lane.id))).toEqual([])
      }
    }
  })

  test('are one for all runs of the same labels, memory and refusals, in whatever order those were given', () => {
    const queue = newQueue()
    const forbidden = ['rnr_1', 'rnr_2']
    const first = queue.push(key({ labels: { os: 'linux', zone: 'a' }, forbidden }), waiting('run_1', 1))
    for (let i = 0; i < 40; i++)
      queue.push(key({ labels: { zone: 'a', build: `${i}` } }), waiting(`b${i}`, 1))
    const again = key({ labels: { zone: 'a', os: 'linux' }, forbidden: forbidden.toReversed() })
    expect(queue.push(again, waiting('run_2', 2))).toBe(first)
    expect(queue.lane(first)?.queued).toBe(2)
  })
})

test('the oldest waiting run is found over all lanes and priorities, with one query however many there are', () => {
  const sql = new MemorySql()
  migrate(sql)
  const queue = new QueueTable(sql)
  expect(queue.oldestQueuedAt()).toBeNull()
  for (let i = 0; i < 60; i++) {
    const run = waiting(`run_${i}`, i === 37 ? 5 : 100 + i)
    queue.push(key({ labels: { build: `${i % 20}` } }), { ...run, priority: i % 3 })
  }
  const asked = vi.spyOn(sql, 'exec')
  expect(queue.oldestQueuedAt()).toBe(5)
  expect(asked).toHaveBeenCalledTimes(1)
})

test('runs that waited before an upgrade of the schema wait in the same lanes after it', () => {
  const sql = new MemorySql()
  migrate(sql, 1)
  const former = '{"labels":{"os":"linux"},"memoryMb":64,"tried":[]}'
  sql.exec('INSERT INTO lanes (lane_id, key, queued) VALUES (7, ?, 1)', former)
  sql.exec("INSERT INTO queue (lane_id, urgency, queued_at, run_id) VALUES (7, 0, 1, 'run_1')")
  migrate(sql)
  const { queue } = new PoolStore(sql)
  const [lane] = queue.lanesFor({ os: 'linux', zone: 'a' }, 64)
  expect(lane).toMatchObject({
    id: 7,
    queued: 1,
    labels: { os: 'linux' },
    memoryMb: 64,
    forbidden: [],
    retried: false,
  })
  expect(queue.push(key({ labels: { os: 'linux' }, memoryMb: 64 }), waiting('run_2', 2))).toBe(7)
  expect(queue.heads(7, 9).map(entry => entry.runId)).toEqual(['run_1', 'run_2'])
})

test('runs that had been tried before an upgrade of the schema may go to whoever did not refuse them', () => {
  const sql = new MemorySql()
  migrate(sql, 3)
  const runner = (runnerId: string, forbidden: boolean) => ({ runnerId, forbidden })
  const tried = [runner('rnr_had', false), runner('rnr_refused', true)]
  for (const [i, history] of [tried, tried.slice(0, 1), []].entries()) {
    const former = JSON.stringify({ labels: {}, memoryMb: 64, tried: history })
    sql.exec(
      "INSERT INTO lanes (lane_id, anchor, memory_mb, key, queued) VALUES (?, '', 64, ?, 1)",
      i,
      former,
    )
    sql.exec("INSERT INTO queue (lane_id, urgency, queued_at, run_id) VALUES (?, 0, 1, 'run')", i)
    sql.exec(
      `INSERT INTO runs (run_id, spec, status, version, attempt, attempts_spent, tried, queued_at, queue_deadline)
       VALUES (?, '{}', 'queued', 1, 1, 1, ?, 1, 9)`,
      `run_${i}`,
      JSON.stringify(history),
    )
  }
  migrate(sql)
  const { queue, runs } = new PoolStore(sql)
  expect(queue.lanes()).toMatchObject([
    { id: 0, labels: {}, memoryMb: 64, forbidden: ['rnr_refused'], retried: true, queued: 1 },
    { id: 1, forbidden: [], retried: true },
    { id: 2, forbidden: [], retried: false },
  ])
  expect(queue.heads(0, 9)).toMatchObject([{ runId: 'run', pauses: [] }])
  expect(runs.get('run_0')?.tried).toEqual([
    { runnerId: 'rnr_had', until: 0, times: 1, forbidden: false },
    { runnerId: 'rnr_refused', until: 0, times: 1, forbidden: true },
  ])
  expect(runs.get('run_2')?.tried).toEqual([])
})
