import type { PoolState } from '../../../protocol/admin-api.ts'
import type { Engine, Health, Platform } from '../../../protocol/runner-api.ts'
import type { Labels } from '../../../protocol/text.ts'
import {
  integer,
  integerOrNull,
  json,
  jsonOrNull,
  type Sql,
  type SqlValue,
  text,
  textOrNull,
} from '../../storage/sql.ts'
import type { RunnerRecord } from '../core/model.ts'

/** Facts about a runner that change only with its configuration. */
interface Profile {
  readonly labels: Labels
  readonly version: string
  /** Absent where an older release has stored the row. */
  readonly agentVersion?: string | null
  readonly protocol: number
  readonly platform: Platform
  readonly engine: Engine | null
}

/** Sorts behind every id. */
const AFTER_ALL = '~'

export class RunnerTable {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  /** Removed runners too: their leases still have to end. */
  get(runnerId: string): RunnerRecord | null {
    const [row] = this.#sql.exec('SELECT * FROM runners WHERE runner_id = ?', runnerId)
    return row === undefined ? null : toRunner(row)
  }

  byName(name: string): RunnerRecord | null {
    const [row] = this.#sql.exec('SELECT * FROM runners WHERE name = ? AND removed_at IS NULL', name)
    return row === undefined ? null : toRunner(row)
  }

  /** Registered runners after `cursor` in id order. */
  page(cursor: string, limit: number): RunnerRecord[] {
    return this.#sql
      .exec(
        'SELECT * FROM runners WHERE runner_id > ? AND removed_at IS NULL ORDER BY runner_id LIMIT ?',
        cursor,
        limit,
      )
      .map(toRunner)
  }

  /** Every registered runner, page by page, for as long as the caller keeps asking. */
  *all(): Generator<RunnerRecord> {
    const pageSize = 100
    for (let cursor = ''; ; ) {
      const page = this.page(cursor, pageSize)
      yield* page
      const last = page.at(-1)
      if (last === undefined || page.length < pageSize) return
      cursor = last.id
    }
  }

  /** Newest first, as lists are shown. */
  pageBackwards(before: string | null, limit: number): RunnerRecord[] {
    return this.#sql
      .exec(
        'SELECT * FROM runners WHERE runner_id < ? AND removed_at IS NULL ORDER BY runner_id DESC LIMIT ?',
        before ?? AFTER_ALL,
        limit,
      )
      .map(toRunner)
  }

  removed(): RunnerRecord[] {
    return this.#sql.exec('SELECT * FROM runners WHERE removed_at IS NOT NULL').map(toRunner)
  }

  insert(runner: RunnerRecord): void {
    const columns = { ...fixedColumns(runner), ...mutableColumns(runner) }
    const names = Object.keys(columns)
    this.#sql.exec(
      `INSERT INTO runners (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`,
      ...Object.values(columns),
    )
  }

  /** Writes one row: it sets no indexed column, because naming one in SET rewrites its index entry. */
  update(runner: RunnerRecord): void {
    const columns = mutableColumns(runner)
    const assignments = Object.keys(columns).map(name => `${name} = ?`)
    this.#sql.exec(
      `UPDATE runners SET ${assignments.join(', ')} WHERE runner_id = ?`,
      ...Object.values(columns),
      runner.id,
    )
  }

  markRemoved(runnerId: string, at: number): void {
    this.#sql.exec('UPDATE runners SET removed_at = ? WHERE runner_id = ?', at, runnerId)
  }

  delete(runnerId: string): void {
    this.#sql.exec('DELETE FROM runners WHERE runner_id = ?', runnerId)
  }
}

function fixedColumns(runner: RunnerRecord): Record<string, SqlValue> {
  return {
    runner_id: runner.id,
    name: runner.name,
    registered_at: runner.registeredAt,
    removed_at: runner.removedAt,
  }
}

function mutableColumns(runner: RunnerRecord): Record<string, SqlValue> {
  const profile: Profile = {
    labels: runner.labels,
    version: runner.version,
    agentVersion: runner.agentVersion,
    protocol: runner.protocol,
    platform: runner.platform,
    engine: runner.engine,
  }
  return {
    token_id: runner.tokenId,
    credential_hash: runner.credentialHash,
    pending_credential_hash: runner.pendingCredentialHash,
    boot: runner.boot,
    boot_id: runner.bootId,
    seq: runner.seq,
    synced: Number(runner.synced),
    slots_max: runner.slotsMax,
    profile: JSON.stringify(profile),
    state: runner.state,
    note: runner.note,
    draining_itself: Number(runner.drainingItself),
    has_left: Number(runner.left),
    last_seen_at: runner.lastSeenAt,
    next_sync_ms: runner.nextSyncMs,
    health: runner.health === null ? null : JSON.stringify(runner.health),
    renewed_at: runner.renewedAt,
    hold_ms: runner.holdMs,
  }
}

function toRunner(row: Record<string, unknown>): RunnerRecord {
  return {
    id: text(row, 'runner_id'),
    name: text(row, 'name'),
    tokenId: text(row, 'token_id'),
    credentialHash: text(row, 'credential_hash'),
    pendingCredentialHash: textOrNull(row, 'pending_credential_hash'),
    boot: integer(row, 'boot'),
    bootId: text(row, 'boot_id'),
    seq: integer(row, 'seq'),
    synced: integer(row, 'synced') === 1,
    slotsMax: integer(row, 'slots_max'),
    agentVersion: null,
    ...json<Profile>(row, 'profile'),
    state: text(row, 'state') as PoolState,
    note: textOrNull(row, 'note'),
    drainingItself: integer(row, 'draining_itself') === 1,
    left: integer(row, 'has_left') === 1,
    registeredAt: integer(row, 'registered_at'),
    lastSeenAt: integer(row, 'last_seen_at'),
    nextSyncMs: integer(row, 'next_sync_ms'),
    health: jsonOrNull<Health>(row, 'health'),
    renewedAt: integer(row, 'renewed_at'),
    holdMs: integer(row, 'hold_ms'),
    removedAt: integerOrNull(row, 'removed_at'),
  }
}
