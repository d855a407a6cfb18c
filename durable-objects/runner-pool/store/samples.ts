import { integer, integerOrNull, type Sql } from '../../storage/sql.ts'
import type { SampleRecord } from '../core/samples.ts'

/** How the pool did, by time. */
export class SampleTable {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  newest(): SampleRecord | null {
    const [row] = this.#sql.exec('SELECT * FROM samples ORDER BY at DESC LIMIT 1')
    return row === undefined ? null : toSample(row)
  }

  since(at: number): SampleRecord[] {
    return this.#sql.exec('SELECT * FROM samples WHERE at >= ? ORDER BY at', at).map(toSample)
  }

  insert(sample: SampleRecord): void {
    this.#sql.exec(
      'INSERT INTO samples (at, queued, slots_busy, slots_total, oldest_queued_seconds) VALUES (?, ?, ?, ?, ?)',
      sample.at,
      sample.queued,
      sample.slotsBusy,
      sample.slotsTotal,
      sample.oldestQueuedSeconds,
    )
  }

  /** Deletes the oldest of those taken before, at most `limit`. */
  prune(before: number, limit: number): void {
    this.#sql.exec(
      'DELETE FROM samples WHERE at IN (SELECT at FROM samples WHERE at < ? ORDER BY at LIMIT ?)',
      before,
      limit,
    )
  }
}

function toSample(row: Record<string, unknown>): SampleRecord {
  return {
    at: integer(row, 'at'),
    queued: integer(row, 'queued'),
    slotsBusy: integer(row, 'slots_busy'),
    slotsTotal: integer(row, 'slots_total'),
    oldestQueuedSeconds: integerOrNull(row, 'oldest_queued_seconds'),
  }
}
