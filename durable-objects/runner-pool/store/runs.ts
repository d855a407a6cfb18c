import type { Failure, RunStatus } from '../../../protocol/run.ts'
import { integer, integerOrNull, json, jsonOrNull, type Sql, text, textOrNull } from '../../storage/sql.ts'
import type { RunRecord, RunSpec, Tried } from '../core/model.ts'

export class RunTable {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  get(runId: string): RunRecord | null {
    const [row] = this.#sql.exec('SELECT * FROM runs WHERE run_id = ?', runId)
    return row === undefined ? null : toRun(row)
  }

  insert(run: RunRecord, env: Readonly<Record<string, string>>): void {
    this.#sql.exec(
      `INSERT INTO runs (run_id, spec, queued_at, status, version, attempt, attempts_spent, tried, lane_id, session_id,
         runner_id, image_digest, queue_deadline, started_at, finished_at, exit_code, failure, cancel_requested_at,
         status_since)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      run.id,
      JSON.stringify(run.spec),
      run.queuedAt,
      ...mutableColumns(run),
    )
    if (Object.keys(env).length > 0) {
      this.#sql.exec('INSERT INTO run_env (run_id, env) VALUES (?, ?)', run.id, JSON.stringify(env))
    }
  }

  update(run: RunRecord): void {
    this.#sql.exec(
      `UPDATE runs SET status = ?, version = ?, attempt = ?, attempts_spent = ?, tried = ?, lane_id = ?,
         session_id = ?, runner_id = ?, image_digest = ?, queue_deadline = ?, started_at = ?, finished_at = ?,
         exit_code = ?, failure = ?, cancel_requested_at = ?, status_since = ?
       WHERE run_id = ?`,
      ...mutableColumns(run),
      run.id,
    )
  }

  /** Of a session whose log was cut. @returns whether that is news */
  noteCut(runId: string, sessionId: string): boolean {
    const noted = this.#sql.exec(
      `UPDATE runs SET cut_sessions = json_insert(cut_sessions, '$[#]', ?)
       WHERE run_id = ? AND NOT EXISTS (SELECT 1 FROM json_each(cut_sessions) WHERE value = ?)
       RETURNING run_id`,
      sessionId,
      runId,
      sessionId,
    )
    return noted.length > 0
  }

  env(runId: string): Readonly<Record<string, string>> {
    const [row] = this.#sql.exec('SELECT env FROM run_env WHERE run_id = ?', runId)
    return row === undefined ? {} : json(row, 'env')
  }

  /** A deleted row leaves its bytes in the file until the page is used again, so they are overwritten first. */
  eraseEnv(runId: string): void {
    this.#sql.exec(
      `UPDATE run_env SET env = substr(hex(zeroblob(length(CAST(env AS BLOB)))), 1, length(CAST(env AS BLOB)))
       WHERE run_id = ?`,
      runId,
    )
    this.#sql.exec('DELETE FROM run_env WHERE run_id = ?', runId)
  }

  retain(runId: string, finishedAt: number): void {
    this.#sql.exec('INSERT INTO retention (finished_at, run_id) VALUES (?, ?)', finishedAt, runId)
  }

  /** Deletes up to `limit` runs that finished before `before` and have nothing left in the outbox. */
  prune(before: number, limit: number): number {
    const rows = this.#sql.exec(
      `SELECT finished_at, run_id FROM retention WHERE finished_at < ?
         AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.run_id = retention.run_id)
       ORDER BY finished_at LIMIT ?`,
      before,
      limit,
    )
    for (const row of rows) {
      this.#sql.exec(
        'DELETE FROM retention WHERE finished_at = ? AND run_id = ?',
        integer(row, 'finished_at'),
        text(row, 'run_id'),
      )
      this.#sql.exec('DELETE FROM runs WHERE run_id = ?', text(row, 'run_id'))
    }
    return rows.length
  }

  oldestFinished(): number | null {
    const [row] = this.#sql.exec('SELECT finished_at FROM retention ORDER BY finished_at LIMIT 1')
    return row === undefined ? null : integer(row, 'finished_at')
  }
}

function mutableColumns(run: RunRecord) {
  return [
    run.status,
    run.version,
    run.attempt,
    run.attemptsSpent,
    JSON.stringify(run.tried),
    run.laneId,
    run.sessionId,
    run.runnerId,
    run.imageDigest,
    run.queueDeadline,
    run.startedAt,
    run.finishedAt,
    run.exitCode,
    run.failure === null ? null : JSON.stringify(run.failure),
    run.cancelRequestedAt,
    run.statusSince,
  ]
}

function toRun(row: Record<string, unknown>): RunRecord {
  return {
    id: text(row, 'run_id'),
    spec: json<RunSpec>(row, 'spec'),
    status: text(row, 'status') as RunStatus,
    statusSince: integerOrNull(row, 'status_since'),
    version: integer(row, 'version'),
    attempt: integer(row, 'attempt'),
    attemptsSpent: integer(row, 'attempts_spent'),
    tried: json<Tried[]>(row, 'tried'),
    laneId: integerOrNull(row, 'lane_id'),
    sessionId: textOrNull(row, 'session_id'),
    runnerId: textOrNull(row, 'runner_id'),
    imageDigest: textOrNull(row, 'image_digest'),
    queuedAt: integer(row, 'queued_at'),
    queueDeadline: integer(row, 'queue_deadline'),
    startedAt: integerOrNull(row, 'started_at'),
    finishedAt: integerOrNull(row, 'finished_at'),
    exitCode: integerOrNull(row, 'exit_code'),
    failure: jsonOrNull<Failure>(row, 'failure'),
    cancelRequestedAt: integerOrNull(row, 'cancel_requested_at'),
  }
}
