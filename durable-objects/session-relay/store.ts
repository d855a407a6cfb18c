import type { WatchMode } from '../../protocol/stream.ts'
import { integer, integerOrNull, type Sql, text } from '../storage/sql.ts'
import { type Course, OUTSET } from './core/joint.ts'
import type { RelayIdentity, StreamCounts, TicketGrant } from './rpc.ts'

/** The relay's tables. Nothing is written before the first ticket or publisher names the session. */

const MIGRATIONS: readonly string[] = [
  `CREATE TABLE relay (
     id INTEGER PRIMARY KEY CHECK (id = 1),
     tenant_id TEXT NOT NULL, pool_id TEXT NOT NULL, run_id TEXT NOT NULL, session_id TEXT NOT NULL,
     runner_id TEXT NOT NULL, waiting_since INTEGER, was_live INTEGER NOT NULL, said TEXT NOT NULL
   );
   CREATE TABLE tickets (
     hash TEXT PRIMARY KEY, mode TEXT NOT NULL, expires_at INTEGER NOT NULL, source TEXT NOT NULL,
     source_expires_at INTEGER, source_max_viewers INTEGER
   ) WITHOUT ROWID;`,
]

export interface RelayRecord {
  readonly identity: RelayIdentity
  readonly course: Course
}

/** Of these every single one matters, so they outlive the memory of the object. */
type Counts = Pick<StreamCounts, 'connections' | 'timeouts'>

export type Ticket = Pick<TicketGrant, 'mode' | 'source' | 'source_expires_at' | 'source_max_viewers'>

export class RelayStore {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  /** Null for an object that was never initialised; creates nothing. */
  open(): RelayRecord | null {
    const [table] = this.#sql.exec(`SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'relay'`)
    if (table === undefined) return null
    const [row] = this.#sql.exec('SELECT * FROM relay')
    if (row === undefined) return null
    return {
      identity: {
        tenant_id: text(row, 'tenant_id'),
        pool_id: text(row, 'pool_id'),
        run_id: text(row, 'run_id'),
        session_id: text(row, 'session_id'),
        runner_id: text(row, 'runner_id'),
      },
      course: {
        waitingSince: integerOrNull(row, 'waiting_since'),
        wasLive: integer(row, 'was_live') === 1,
        said: text(row, 'said'),
      },
    }
  }

  initialise(identity: RelayIdentity): RelayRecord {
    for (const migration of MIGRATIONS) this.#sql.exec(migration)
    const { tenant_id, pool_id, run_id, session_id, runner_id } = identity
    this.#sql.exec(
      `INSERT INTO relay (id, tenant_id, pool_id, run_id, session_id, runner_id, was_live, said)
       VALUES (1, ?, ?, ?, ?, ?, 0, '')`,
      tenant_id,
      pool_id,
      run_id,
      session_id,
      runner_id,
    )
    return { identity: { tenant_id, pool_id, run_id, session_id, runner_id }, course: OUTSET }
  }

  save({ waitingSince, wasLive, said }: Course): void {
    this.#sql.exec(
      'UPDATE relay SET waiting_since = ?, was_live = ?, said = ?',
      waitingSince,
      wasLive ? 1 : 0,
      said,
    )
  }

  /** What was counted so far; creates nothing. */
  counts(): Counts {
    const [row] = this.#hasCounts() ? this.#sql.exec('SELECT * FROM counts') : []
    if (row === undefined) return { connections: 0, timeouts: 0 }
    return { connections: integer(row, 'connections'), timeouts: integer(row, 'timeouts') }
  }

  count(more: Counts): void {
    if (!this.#hasCounts()) {
      this.#sql.exec('CREATE TABLE counts (connections INTEGER NOT NULL, timeouts INTEGER NOT NULL)')
      this.#sql.exec('INSERT INTO counts (connections, timeouts) VALUES (0, 0)')
    }
    this.#sql.exec(
      'UPDATE counts SET connections = connections + ?, timeouts = timeouts + ?',
      more.connections,
      more.timeouts,
    )
  }

  #hasCounts(): boolean {
    const query = `SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'counts'`
    return this.#sql.exec(query).length > 0
  }

  addTicket(grant: TicketGrant): void {
    this.#sql.exec(
      `INSERT INTO tickets (hash, mode, expires_at, source, source_expires_at, source_max_viewers)
       VALUES (?, ?, ?, ?, ?, ?)`,
      grant.ticket_hash,
      grant.mode,
      grant.expires_at,
      grant.source,
      grant.source_expires_at,
      grant.source_max_viewers,
    )
  }

  /** Whoever asks first has it; @returns null when it was used, has expired, or never was */
  takeTicket(hash: string, now: number): Ticket | null {
    const [row] = this.#sql.exec('DELETE FROM tickets WHERE hash = ? RETURNING *', hash)
    if (row === undefined || integer(row, 'expires_at') <= now) return null
    return {
      mode: text(row, 'mode') as WatchMode,
      source: text(row, 'source'),
      source_expires_at: integerOrNull(row, 'source_expires_at'),
      source_max_viewers: integerOrNull(row, 'source_max_viewers'),
    }
  }

  dropTickets(source: string): void {
    this.#sql.exec('DELETE FROM tickets WHERE source = ?', source)
  }

  /** @returns when the next open ticket expires, or null when none is open */
  sweepTickets(now: number): number | null {
    this.#sql.exec('DELETE FROM tickets WHERE expires_at <= ?', now)
    const [row] = this.#sql.exec('SELECT min(expires_at) AS next FROM tickets')
    return typeof row?.next === 'number' ? row.next : null
  }
}
