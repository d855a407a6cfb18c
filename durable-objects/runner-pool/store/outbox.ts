import type { RunEventType } from '../../../protocol/run.ts'
import { integer, type Sql, text, textOrNull } from '../../storage/sql.ts'
import type { OutboxEntry } from '../core/model.ts'

/** With D1 away for long there may be any number. */
const OLDEST_LOOK = 1_000

/** Run events D1 has not confirmed. The run's snapshot is read when they are projected. */
export class OutboxTable {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  append(entry: OutboxEntry): void {
    this.#sql.exec(
      'INSERT INTO outbox (run_id, seq, at, type, session_id, runner_id, detail) VALUES (?, ?, ?, ?, ?, ?, ?)',
      entry.runId,
      entry.seq,
      entry.at,
      entry.type,
      entry.sessionId,
      entry.runnerId,
      entry.detail,
    )
  }

  /** Entries in run order, so that one run's are never split unless there are more than `limit` of them. */
  batch(limit: number): OutboxEntry[] {
    return this.#sql.exec('SELECT * FROM outbox ORDER BY run_id, seq LIMIT ?', limit).map(row => ({
      runId: text(row, 'run_id'),
      seq: integer(row, 'seq'),
      at: integer(row, 'at'),
      type: text(row, 'type') as RunEventType,
      sessionId: textOrNull(row, 'session_id'),
      runnerId: textOrNull(row, 'runner_id'),
      detail: text(row, 'detail'),
    }))
  }

  confirm(entry: Pick<OutboxEntry, 'runId' | 'seq'>): void {
    this.#sql.exec('DELETE FROM outbox WHERE run_id = ? AND seq = ?', entry.runId, entry.seq)
  }

  /** When the oldest entry was made; of very many, the oldest among the first. Null when there is none. */
  oldestAt(): number | null {
    const query = 'SELECT min(at) AS oldest FROM (SELECT at FROM outbox LIMIT ?)'
    const [row] = this.#sql.exec(query, OLDEST_LOOK)
    return typeof row?.oldest === 'number' ? row.oldest : null
  }

  isEmpty(): boolean {
    return this.#sql.exec('SELECT 1 FROM outbox LIMIT 1').length === 0
  }
}
