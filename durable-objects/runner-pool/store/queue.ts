import type { Labels } from '../../../protocol/text.ts'
import type { LaneRecord, QueueEntry, Tried } from '../core/model.ts'
import { integer, json, type Sql, text } from './sql.ts'

/** What makes two runs wait in the same lane. */
export interface LaneKey {
  readonly labels: Labels
  readonly memoryMb: number
  readonly tried: readonly Tried[]
}

/** Waiting runs, by lane, then priority, then age. Lanes count their runs, so nothing is ever counted by scan. */
export class QueueTable {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  lanes(): LaneRecord[] {
    return this.#sql.exec('SELECT lane_id, key, queued FROM lanes').map(row => ({
      id: integer(row, 'lane_id'),
      queued: integer(row, 'queued'),
      ...json<LaneKey>(row, 'key'),
    }))
  }

  /** @returns the lane the run now waits in */
  push(key: LaneKey, priority: number, queuedAt: number, runId: string): number {
    const laneId = this.#laneFor(key)
    this.#sql.exec(
      'INSERT INTO queue (lane_id, urgency, queued_at, run_id) VALUES (?, ?, ?, ?)',
      laneId,
      -priority,
      queuedAt,
      runId,
    )
    return laneId
  }

  /** The most urgent entries of one lane, at most `limit`. */
  heads(laneId: number, limit: number): QueueEntry[] {
    return this.#sql
      .exec(
        'SELECT * FROM queue WHERE lane_id = ? ORDER BY urgency, queued_at, run_id LIMIT ?',
        laneId,
        limit,
      )
      .map(row => ({
        laneId: integer(row, 'lane_id'),
        priority: -integer(row, 'urgency'),
        queuedAt: integer(row, 'queued_at'),
        runId: text(row, 'run_id'),
      }))
  }

  remove(entry: QueueEntry): void {
    this.#sql.exec(
      'DELETE FROM queue WHERE lane_id = ? AND urgency = ? AND queued_at = ? AND run_id = ?',
      entry.laneId,
      -entry.priority,
      entry.queuedAt,
      entry.runId,
    )
  }

  /** Takes `count` runs off a lane's counter and drops the lane when none is left. */
  release(lane: LaneRecord | number, count: number): void {
    const laneId = typeof lane === 'number' ? lane : lane.id
    const left = (typeof lane === 'number' ? this.#queued(lane) : lane.queued) - count
    if (left > 0) this.#sql.exec('UPDATE lanes SET queued = ? WHERE lane_id = ?', left, laneId)
    else this.#sql.exec('DELETE FROM lanes WHERE lane_id = ?', laneId)
  }

  /** When the oldest waiting run was queued; three rows per lane and priority are looked at, never the lane. */
  oldestQueuedAt(): number | null {
    const ages = this.lanes().flatMap(lane =>
      this.#sql
        .exec(
          `WITH RECURSIVE urgencies (urgency) AS (
             SELECT min(urgency) FROM queue WHERE lane_id = ?1
             UNION ALL
             SELECT (SELECT min(urgency) FROM queue WHERE lane_id = ?1 AND urgency > urgencies.urgency)
             FROM urgencies WHERE urgency IS NOT NULL
           )
           SELECT min((SELECT min(queued_at) FROM queue WHERE lane_id = ?1 AND urgency = urgencies.urgency)) AS oldest
           FROM urgencies`,
          lane.id,
        )
        .flatMap(row => (typeof row.oldest === 'number' ? [row.oldest] : [])),
    )
    return ages.length === 0 ? null : Math.min(...ages)
  }

  setDeadline(due: number, runId: string): void {
    this.#sql.exec('INSERT OR IGNORE INTO queue_deadlines (due, run_id) VALUES (?, ?)', due, runId)
  }

  clearDeadline(due: number, runId: string): void {
    this.#sql.exec('DELETE FROM queue_deadlines WHERE due = ? AND run_id = ?', due, runId)
  }

  deadlinesUntil(now: number, limit: number): { due: number; runId: string }[] {
    return this.#sql
      .exec('SELECT due, run_id FROM queue_deadlines WHERE due <= ? ORDER BY due LIMIT ?', now, limit)
      .map(row => ({ due: integer(row, 'due'), runId: text(row, 'run_id') }))
  }

  nextDeadline(): number | null {
    const [row] = this.#sql.exec('SELECT due FROM queue_deadlines ORDER BY due LIMIT 1')
    return row === undefined ? null : integer(row, 'due')
  }

  #laneFor(key: LaneKey): number {
    const [row] = this.#sql.exec(
      `INSERT INTO lanes (key, queued) VALUES (?, 1)
       ON CONFLICT (key) DO UPDATE SET queued = queued + 1 RETURNING lane_id`,
      canonical(key),
    )
    if (row === undefined) throw new Error('a lane was neither found nor made')
    return integer(row, 'lane_id')
  }

  #queued(laneId: number): number {
    const [row] = this.#sql.exec('SELECT queued FROM lanes WHERE lane_id = ?', laneId)
    return row === undefined ? 0 : integer(row, 'queued')
  }
}

/** The same key always gives the same text, whatever order its labels and runners came in. */
function canonical(key: LaneKey): string {
  return JSON.stringify({
    labels: Object.fromEntries(Object.entries(key.labels).sort(([a], [b]) => (a < b ? -1 : 1))),
    memoryMb: key.memoryMb,
    tried: [...key.tried].sort((a, b) => (a.runnerId < b.runnerId ? -1 : 1)),
  })
}
