import type { StreamCounts } from '../../session-relay/rpc.ts'
import { integer, jsonOrNull, type Sql, text } from '../../storage/sql.ts'
import { NOTHING_COUNTED } from '../core/measured.ts'
import type { StreamRecord } from '../core/model.ts'

/** Live views as the sessions' relays last reported them; only of sessions that somebody has watched. */
export class StreamTable {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  ofRunner(runnerId: string): StreamRecord[] {
    return this.#sql.exec('SELECT * FROM streams WHERE runner_id = ?', runnerId).map(toStream)
  }

  get(runnerId: string, sessionId: string): StreamRecord | null {
    const [row] = this.#sql.exec(
      'SELECT * FROM streams WHERE runner_id = ? AND session_id = ?',
      runnerId,
      sessionId,
    )
    return row === undefined ? null : toStream(row)
  }

  put(stream: StreamRecord): void {
    this.#sql.exec(
      `INSERT OR REPLACE INTO streams (runner_id, session_id, state, viewers, publisher, opened, counts)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
      stream.runnerId,
      stream.sessionId,
      stream.state,
      stream.viewers,
      stream.publisher ? 1 : 0,
      stream.opened ? 1 : 0,
      JSON.stringify(stream.counts),
    )
  }

  /** Of all live views together. */
  viewers(): number {
    const [row] = this.#sql.exec('SELECT sum(viewers) AS viewers FROM streams')
    return typeof row?.viewers === 'number' ? row.viewers : 0
  }

  /** @returns whether there was one */
  delete(runnerId: string, sessionId: string): boolean {
    const query = 'DELETE FROM streams WHERE runner_id = ? AND session_id = ? RETURNING session_id'
    return this.#sql.exec(query, runnerId, sessionId).length > 0
  }
}

function toStream(row: Record<string, unknown>): StreamRecord {
  return {
    runnerId: text(row, 'runner_id'),
    sessionId: text(row, 'session_id'),
    state: text(row, 'state') as StreamRecord['state'],
    viewers: integer(row, 'viewers'),
    publisher: integer(row, 'publisher') === 1,
    opened: integer(row, 'opened') === 1,
    counts: jsonOrNull<StreamCounts>(row, 'counts') ?? NOTHING_COUNTED,
  }
}
