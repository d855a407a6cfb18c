import { describe, expect, test, vi } from 'vitest'
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
        queue.push({ labels, memoryMb, tried: [] }, 0, i, `run_${i}_${memoryMb}`)
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

  test('are one for all runs of the same labels, memory and history, in whatever order those were given', () => {
    const queue = newQueue()
    const tried = ['rnr_1', 'rnr_2'].map(runnerId => ({ runnerId, forbidden: false }))
    const first = queue.push({ labels: { os: 'linux', zone: 'a' }, memoryMb: 1, tried }, 0, 1, 'run_1')
    for (let i = 0; i < 40; i++)
      queue.push({ labels: { zone: 'a', build: `${i}` }, memoryMb: 1, tried: [] }, 0, 1, `b${i}`)
    const again = { labels: { zone: 'a', os: 'linux' }, memoryMb: 1, tried: tried.toReversed() }
    expect(queue.push(again, 0, 2, 'run_2')).toBe(first)
    expect(queue.lane(first)?.queued).toBe(2)
  })
})

test('the oldest waiting run is found over all lanes and priorities, with one query however many there are', () => {
  const sql = new MemorySql()
  migrate(sql)
  const queue = new QueueTable(sql)
  expect(queue.oldestQueuedAt()).toBeNull()
  for (let i = 0; i < 60; i++) {
    const key = { labels: { build: `${i % 20}` }, memoryMb: 0, tried: [] }
    queue.push(key, i % 3, i === 37 ? 5 : 100 + i, `run_${i}`)
  }
  const asked = vi.spyOn(sql, 'exec')
  expect(queue.oldestQueuedAt()).toBe(5)
  expect(asked).toHaveBeenCalledTimes(1)
})

test('runs that waited before an upgrade of the schema wait in the same lanes after it', () => {
  const sql = new MemorySql()
  migrate(sql, 1)
  const key = '{"labels":{"os":"linux"},"memoryMb":64,"tried":[]}'
  sql.exec('INSERT INTO lanes (lane_id, key, queued) VALUES (7, ?, 1)', key)
  sql.exec("INSERT INTO queue (lane_id, urgency, queued_at, run_id) VALUES (7, 0, 1, 'run_1')")
  migrate(sql)
  const { queue } = new PoolStore(sql)
  const [lane] = queue.lanesFor({ os: 'linux', zone: 'a' }, 64)
  expect(lane).toMatchObject({ id: 7, queued: 1, labels: { os: 'linux' }, memoryMb: 64, tried: [] })
  expect(queue.push({ labels: { os: 'linux' }, memoryMb: 64, tried: [] }, 0, 2, 'run_2')).toBe(7)
  expect(queue.heads(7, 9).map(entry => entry.runId)).toEqual(['run_1', 'run_2'])
})
