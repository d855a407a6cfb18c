import type { Labels } from '../../../protocol/text.ts'
import { integer, json, jsonOrNull, type Sql, text } from '../../storage/sql.ts'
import type { LaneKey, LaneRecord, Pause, QueueEntry } from '../core/model.ts'

/** A label under which this many lanes wait is a common one; how many more makes no difference. */
const COMMON_LANES = 32

/**
 * Waiting runs, by lane, then priority, then age. Lanes count their runs, so nothing is ever counted by scan.
 *
 * A lane is filed under one of its labels, its anchor, and by the memory it needs. A runner looks under its own
 * labels only, so lanes of other labels, or of more memory than it has, cost it nothing however many there are.
 */
export class QueueTable {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  /** Every lane; for people's eyes. */
  lanes(): LaneRecord[] {
    return this.#sql.exec('SELECT * FROM lanes').map(toLane)
  }

  /** Lanes after `laneId`, at most `limit`. */
  lanesAfter(laneId: number, limit: number): LaneRecord[] {
    return this.#sql
      .exec('SELECT * FROM lanes WHERE lane_id > ? ORDER BY lane_id LIMIT ?', laneId, limit)
      .map(toLane)
  }

  lane(laneId: number): LaneRecord | null {
    const [row] = this.#sql.exec('SELECT * FROM lanes WHERE lane_id = ?', laneId)
    return row === undefined ? null : toLane(row)
  }

  /** Lanes that whoever has these labels and this much memory (null: any) may serve, and few others. */
  lanesFor(labels: Labels, memoryMb: number | null): LaneRecord[] {
    return anchorsOf(labels).flatMap(anchor => this.#lanesUnder(anchor, memoryMb ?? Number.MAX_SAFE_INTEGER))
  }

  isEmpty(): boolean {
    return this.#sql.exec('SELECT 1 FROM lanes LIMIT 1').length === 0
  }

  /** @returns the lane the run now waits in */
  push(key: LaneKey, run: Omit<QueueEntry, 'laneId'>): number {
    const laneId = this.#join(key) ?? this.#open(key)
    this.#sql.exec(
      'INSERT INTO queue (lane_id, urgency, queued_at, run_id, pauses) VALUES (?, ?, ?, ?, ?)',
      laneId,
      -run.priority,
      run.queuedAt,
      run.runId,
      run.pauses.length === 0 ? null : JSON.stringify(run.pauses),
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
        pauses: jsonOrNull<Pause[]>(row, 'pauses') ?? [],
      }))
  }

  remove(entry: Omit<QueueEntry, 'pauses'>): void {
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
    const [row] = this.#sql.exec(
      `WITH RECURSIVE urgencies (lane_id, urgency) AS (
         SELECT lane_id, (SELECT min(urgency) FROM queue WHERE queue.lane_id = lanes.lane_id) FROM lanes
         UNION ALL
         SELECT lane_id, (
           SELECT min(urgency) FROM queue
           WHERE queue.lane_id = urgencies.lane_id AND queue.urgency > urgencies.urgency
         )
         FROM urgencies WHERE urgency IS NOT NULL
       )
       SELECT min((
         SELECT min(queued_at) FROM queue
         WHERE queue.lane_id = urgencies.lane_id AND queue.urgency = urgencies.urgency
       )) AS oldest
       FROM urgencies`,
    )
    return typeof row?.oldest === 'number' ? row.oldest : null
  }

  /** When somebody must look at the run, should it still wait then. */
  setDue(due: number, runId: string): void {
    this.#sql.exec('INSERT OR IGNORE INTO queue_deadlines (due, run_id) VALUES (?, ?)', due, runId)
  }

  clearDue(due: number, runId: string): void {
    this.#sql.exec('DELETE FROM queue_deadlines WHERE due = ? AND run_id = ?', due, runId)
  }

  duesUntil(now: number, limit: number): { due: number; runId: string }[] {
    return this.#sql
      .exec('SELECT due, run_id FROM queue_deadlines WHERE due <= ? ORDER BY due LIMIT ?', now, limit)
      .map(row => ({ due: integer(row, 'due'), runId: text(row, 'run_id') }))
  }

  nextDue(): number | null {
    const [row] = this.#sql.exec('SELECT due FROM queue_deadlines ORDER BY due LIMIT 1')
    return row === undefined ? null : integer(row, 'due')
  }

  /** Nothing costs nothing, and of what needs too much memory two are read: the range reads one more than it finds. */
  #lanesUnder(anchor: string, memoryMb: number): LaneRecord[] {
    const least = this.#sql
      .exec('SELECT * FROM lanes WHERE anchor = ? ORDER BY memory_mb, key LIMIT 2', anchor)
      .map(toLane)
    if (!least[1] || least[1].memoryMb > memoryMb) return least
    return this.#sql
      .exec('SELECT * FROM lanes WHERE anchor = ? AND memory_mb <= ?', anchor, memoryMb)
      .map(toLane)
  }

  /** Adds one run to the lane, if there is one. @returns its id */
  #join(key: LaneKey): number | null {
    for (const anchor of anchorsOf(key.labels)) {
      const [row] = this.#sql.exec(
        `UPDATE lanes SET queued = queued + 1
         WHERE anchor = ? AND memory_mb = ? AND key = ? RETURNING lane_id`,
        anchor,
        key.memoryMb,
        canonical(key),
      )
      if (row !== undefined) return integer(row, 'lane_id')
    }
    return null
  }

  #open(key: LaneKey): number {
    const [row] = this.#sql.exec(
      'INSERT INTO lanes (anchor, memory_mb, key, queued) VALUES (?, ?, ?, 1) RETURNING lane_id',
      this.#rarest(key.labels),
      key.memoryMb,
      canonical(key),
    )
    if (row === undefined) throw new Error('a lane was not made')
    return integer(row, 'lane_id')
  }

  /** The label that the fewest lanes are filed under. */
  #rarest(labels: Labels): string {
    const counted = anchorsOf(labels)
      .slice(0, -1)
      .map(anchor => {
        const lanes = this.#sql.exec('SELECT 1 FROM lanes WHERE anchor = ? LIMIT ?', anchor, COMMON_LANES)
        return { anchor, lanes: lanes.length }
      })
    return counted.sort((a, b) => a.lanes - b.lanes)[0]?.anchor ?? UNLABELLED
  }

  #queued(laneId: number): number {
    const [row] = this.#sql.exec('SELECT queued FROM lanes WHERE lane_id = ?', laneId)
    return row === undefined ? 0 : integer(row, 'queued')
  }
}

/** Where a lane without labels is filed. */
const UNLABELLED = ''

/** Where a lane of these labels may be filed, and where a runner of these labels looks. A key holds no "=". */
function anchorsOf(labels: Labels): string[] {
  return [...Object.entries(labels).map(([key, value]) => `${key}=${value}`), UNLABELLED]
}

function toLane(row: Record<string, unknown>): LaneRecord {
  const { labels, memoryMb, forbidden, retried } = json<LaneKey>(row, 'key')
  return {
    id: integer(row, 'lane_id'),
    queued: integer(row, 'queued'),
    labels,
    memoryMb,
    forbidden,
    retried,
  }
}

/** The same key always gives the same text, whatever order its labels and runners came in. */
function canonical(key: LaneKey): string {
  return JSON.stringify({
    labels: Object.fromEntries(Object.entries(key.labels).sort(([a], [b]) => (a < b ? -1 : 1))),
    memoryMb: key.memoryMb,
    forbidden: key.forbidden.toSorted(),
    retried: key.retried,
  })
}
