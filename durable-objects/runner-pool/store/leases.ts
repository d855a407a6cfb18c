import type { StopReason } from '../../../protocol/runner-api.ts'
import { integer, integerOrNull, json, type Sql, text, textOrNull } from '../../storage/sql.ts'
import type { LeaseRecord, LeaseState } from '../core/model.ts'

/** Live leases only: a lease that has ended has no row, which is what fences its session. */
export class LeaseTable {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  get(runnerId: string, sessionId: string): LeaseRecord | null {
    const [row] = this.#sql.exec(
      'SELECT * FROM leases WHERE runner_id = ? AND session_id = ?',
      runnerId,
      sessionId,
    )
    return row === undefined ? null : toLease(row)
  }

  ofRunner(runnerId: string): LeaseRecord[] {
    return this.#sql.exec('SELECT * FROM leases WHERE runner_id = ?', runnerId).map(toLease)
  }

  all(): LeaseRecord[] {
    return this.#sql.exec('SELECT * FROM leases').map(toLease)
  }

  isEmpty(): boolean {
    return this.#sql.exec('SELECT 1 FROM leases LIMIT 1').length === 0
  }

  /** For people's eyes only; no sync or lease counts rows. */
  count(): number {
    const [row] = this.#sql.exec('SELECT count(*) AS live FROM leases')
    return typeof row?.live === 'number' ? row.live : 0
  }

  insert(lease: LeaseRecord): void {
    this.#sql.exec(
      `INSERT INTO leases (runner_id, session_id, run_id, offered_at, offer_ends_at, timeout_ms, memory_mb, state,
         accepted_at, running_at, frozen_until, missing, stop_reason, stop_requested_at, notices)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      lease.runnerId,
      lease.sessionId,
      lease.runId,
      lease.offeredAt,
      lease.offerEndsAt,
      lease.timeoutMs,
      lease.memoryMb,
      ...mutableColumns(lease),
    )
  }

  update(lease: LeaseRecord): void {
    this.#sql.exec(
      `UPDATE leases SET state = ?, accepted_at = ?, running_at = ?, frozen_until = ?, missing = ?, stop_reason = ?,
         stop_requested_at = ?, notices = ?
       WHERE runner_id = ? AND session_id = ?`,
      ...mutableColumns(lease),
      lease.runnerId,
      lease.sessionId,
    )
  }

  delete(lease: LeaseRecord): void {
    this.#sql.exec(
      'DELETE FROM leases WHERE runner_id = ? AND session_id = ?',
      lease.runnerId,
      lease.sessionId,
    )
  }

  /** The newest renewal any live lease rests on, or 0; the clock never starts before it. */
  latestRenewal(): number {
    const [row] = this.#sql.exec(
      `SELECT max(max(leases.offered_at), max(runners.renewed_at)) AS latest
       FROM leases JOIN runners USING (runner_id)`,
    )
    return typeof row?.latest === 'number' ? row.latest : 0
  }
}

function mutableColumns(lease: LeaseRecord) {
  return [
    lease.state,
    lease.acceptedAt,
    lease.runningAt,
    lease.frozenUntil,
    lease.missing,
    lease.stop?.reason ?? null,
    lease.stop?.requestedAt ?? null,
    JSON.stringify(lease.notices),
  ]
}

function toLease(row: Record<string, unknown>): LeaseRecord {
  const stopReason = textOrNull(row, 'stop_reason')
  return {
    runnerId: text(row, 'runner_id'),
    sessionId: text(row, 'session_id'),
    runId: text(row, 'run_id'),
    state: text(row, 'state') as LeaseState,
    offeredAt: integer(row, 'offered_at'),
    offerEndsAt: integer(row, 'offer_ends_at'),
    acceptedAt: integerOrNull(row, 'accepted_at'),
    runningAt: integerOrNull(row, 'running_at'),
    frozenUntil: integerOrNull(row, 'frozen_until'),
    missing: integer(row, 'missing'),
    stop:
      stopReason === null
        ? null
        : { reason: stopReason as StopReason, requestedAt: integer(row, 'stop_requested_at') },
    notices: json<string[]>(row, 'notices'),
    timeoutMs: integer(row, 'timeout_ms'),
    memoryMb: integer(row, 'memory_mb'),
  }
}
