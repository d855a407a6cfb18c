import { integer, type Sql, text } from '../../storage/sql.ts'

/** So many in a stretch of time, as the back end is told it. */
export interface CountBatch {
  readonly name: string
  /** Epoch milliseconds. */
  readonly since: number
  readonly until: number
  readonly value: number
}

/**
 * Counts of facts that the metrics back end has not confirmed. A row is open (`until` 0) and counts, until it is closed
 * to be sent; from then on it never changes, so that sending it again says the same, and it goes when it is confirmed.
 * Of each name there is at most one closed and one open, however long the back end is away.
 */
export class CountTable {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  add(name: string, value: number, now: number): void {
    this.#sql.exec(
      `INSERT INTO unsent_counts (name, until, since, value) VALUES (?, 0, ?, ?)
       ON CONFLICT DO UPDATE SET value = value + excluded.value`,
      name,
      now,
      value,
    )
  }

  /** Closes what is open, where nothing of that name is closed already. @returns what is closed */
  close(until: number): CountBatch[] {
    if (this.isEmpty()) return []
    this.#sql.exec(
      `UPDATE unsent_counts SET until = ?
       WHERE until = 0 AND name NOT IN (SELECT name FROM unsent_counts WHERE until > 0)`,
      until,
    )
    return this.#sql.exec('SELECT * FROM unsent_counts WHERE until > 0 ORDER BY name').map(row => ({
      name: text(row, 'name'),
      since: integer(row, 'since'),
      until: integer(row, 'until'),
      value: integer(row, 'value'),
    }))
  }

  confirm({ name, until }: Pick<CountBatch, 'name' | 'until'>): void {
    this.#sql.exec('DELETE FROM unsent_counts WHERE name = ? AND until = ?', name, until)
  }

  /** Since when the oldest waits; null when nothing does. */
  oldestSince(): number | null {
    const [row] = this.#sql.exec('SELECT min(since) AS oldest FROM unsent_counts')
    return typeof row?.oldest === 'number' ? row.oldest : null
  }

  isEmpty(): boolean {
    return this.#sql.exec('SELECT 1 FROM unsent_counts LIMIT 1').length === 0
  }
}
