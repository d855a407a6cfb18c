import { integer, type Sql, text } from '../../storage/sql.ts'

export interface EndedSession {
  readonly runId: string
  /** Epoch milliseconds. */
  readonly endedAt: number
}

/**
 * Sessions that their runner's own report has ended: it may still bring what they left. Ids rise with time, so the
 * oldest are found without an index, which would cost a row at every end.
 */
export class EndedSessionTable {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  add(runnerId: string, sessionId: string, runId: string, endedAt: number): void {
    this.#sql.exec(
      'INSERT OR REPLACE INTO ended_sessions (session_id, runner_id, run_id, ended_at) VALUES (?, ?, ?, ?)',
      sessionId,
      runnerId,
      runId,
      endedAt,
    )
  }

  get(runnerId: string, sessionId: string): EndedSession | null {
    const [row] = this.#sql.exec(
      'SELECT run_id, ended_at FROM ended_sessions WHERE session_id = ? AND runner_id = ?',
      sessionId,
      runnerId,
    )
    return row === undefined ? null : { runId: text(row, 'run_id'), endedAt: integer(row, 'ended_at') }
  }

  /** Looks at the `limit` oldest and deletes those that ended before `before`, in epoch milliseconds. */
  prune(before: number, limit: number): void {
    this.#sql.exec(
      `DELETE FROM ended_sessions WHERE ended_at < ? AND session_id IN
         (SELECT session_id FROM ended_sessions ORDER BY session_id LIMIT ?)`,
      before,
      limit,
    )
  }
}
