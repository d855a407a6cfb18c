import type { SessionIdentity } from '../session-identity.ts'
import { integer, text, textOrNull } from '../storage/sql.ts'
import type { LogRecord } from './core/log.ts'

/** The tables of one session's files. Bytes of the log stay here until a whole segment is in object storage. */

const SCHEMA = [
  `CREATE TABLE session (
     id INTEGER PRIMARY KEY CHECK (id = 1),
     tenant_id TEXT NOT NULL, pool_id TEXT NOT NULL, run_id TEXT NOT NULL, session_id TEXT NOT NULL,
     changed_at INTEGER NOT NULL,
     length INTEGER NOT NULL DEFAULT 0, complete INTEGER NOT NULL DEFAULT 0, truncated INTEGER NOT NULL DEFAULT 0,
     kept INTEGER NOT NULL DEFAULT 0, stored INTEGER NOT NULL DEFAULT 0, cut_told INTEGER NOT NULL DEFAULT 0
   )`,
  'CREATE TABLE log_rows (at INTEGER PRIMARY KEY, bytes BLOB NOT NULL)',
  `CREATE TABLE uploads (
     upload_id TEXT PRIMARY KEY, name TEXT NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL,
     r2_upload_id TEXT, complete INTEGER NOT NULL DEFAULT 0
   ) WITHOUT ROWID`,
  'CREATE INDEX uploads_by_name ON uploads (name)',
  `CREATE TABLE parts (
     upload_id TEXT NOT NULL, part INTEGER NOT NULL, etag TEXT NOT NULL, PRIMARY KEY (upload_id, part)
   ) WITHOUT ROWID`,
]

export interface FilesRecord extends SessionIdentity {
  readonly log: LogRecord
  /** Bytes that can be read: the log and, where it was cut, the notice. */
  readonly kept: number
  /** Of those, how many are in object storage. */
  readonly stored: number
  /** The run has an event that says that the log was cut. */
  readonly cutTold: boolean
  /** Epoch milliseconds. */
  readonly changedAt: number
}

/** As the column has them, by their places. What was replaced counts until it has left object storage. */
const UPLOAD_STATES = ['open', 'complete', 'replaced'] as const
export type UploadState = (typeof UPLOAD_STATES)[number]

export interface UploadRecord {
  readonly id: string
  readonly name: string
  readonly size: number
  readonly sha256: string
  readonly r2UploadId: string | null
  readonly state: UploadState
}

export interface PartRecord {
  readonly part: number
  readonly etag: string
}

export class FilesStore {
  readonly #sql: SqlStorage

  constructor(sql: SqlStorage) {
    this.#sql = sql
  }

  /** Null for an object that was never initialised; creates nothing. */
  open(): FilesRecord | null {
    const [table] = this.#sql
      .exec(`SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'session'`)
      .toArray()
    if (table === undefined) return null
    const [row] = this.#sql.exec('SELECT * FROM session').toArray()
    if (row === undefined) return null
    return {
      tenant_id: text(row, 'tenant_id'),
      pool_id: text(row, 'pool_id'),
      run_id: text(row, 'run_id'),
      session_id: text(row, 'session_id'),
      log: {
        length: integer(row, 'length'),
        complete: integer(row, 'complete') === 1,
        truncated: integer(row, 'truncated') === 1,
      },
      kept: integer(row, 'kept'),
      stored: integer(row, 'stored'),
      cutTold: integer(row, 'cut_told') === 1,
      changedAt: integer(row, 'changed_at'),
    }
  }

  initialise({ tenant_id, pool_id, run_id, session_id }: SessionIdentity, now: number): void {
    for (const statement of SCHEMA) this.#sql.exec(statement)
    this.#sql.exec(
      'INSERT INTO session (id, tenant_id, pool_id, run_id, session_id, changed_at) VALUES (1, ?, ?, ?, ?, ?)',
      tenant_id,
      pool_id,
      run_id,
      session_id,
      now,
    )
  }

  save({ log, kept, stored, cutTold, changedAt }: FilesRecord): void {
    this.#sql.exec(
      `UPDATE session SET length = ?, complete = ?, truncated = ?, kept = ?, stored = ?, cut_told = ?,
         changed_at = ?`,
      log.length,
      log.complete ? 1 : 0,
      log.truncated ? 1 : 0,
      kept,
      stored,
      cutTold ? 1 : 0,
      changedAt,
    )
  }

  addBytes(at: number, bytes: Uint8Array<ArrayBuffer>): void {
    const exact = bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : bytes.slice().buffer
    this.#sql.exec('INSERT INTO log_rows (at, bytes) VALUES (?, ?)', at, exact)
  }

  /** Bytes of `[from, to)`, all of which must still be here. */
  bytes(from: number, to: number): Uint8Array<ArrayBuffer> {
    const whole = new Uint8Array(new ArrayBuffer(to - from))
    const first = `coalesce((SELECT max(at) FROM log_rows WHERE at <= ?), 0)`
    const rows = this.#sql.exec(
      `SELECT at, bytes FROM log_rows WHERE at >= ${first} AND at < ? ORDER BY at`,
      from,
      to,
    )
    for (const row of rows) {
      const at = integer(row, 'at')
      const bytes = new Uint8Array(row.bytes as ArrayBuffer)
      const begin = Math.max(from, at)
      const end = Math.min(to, at + bytes.length)
      if (begin < end) whole.set(bytes.subarray(begin - at, end - at), begin - from)
    }
    return whole
  }

  /** What comes before `until` is in object storage; of a row across it, the rest stays readable. */
  dropBytes(until: number): void {
    this.#sql.exec('DELETE FROM log_rows WHERE at + length(bytes) <= ?', until)
  }

  upload(id: string): UploadRecord | null {
    const [row] = this.#sql.exec('SELECT * FROM uploads WHERE upload_id = ?', id).toArray()
    return row === undefined ? null : toUpload(row)
  }

  /** By name. */
  uploads(state: UploadState): UploadRecord[] {
    return this.#sql
      .exec('SELECT * FROM uploads WHERE complete = ? ORDER BY name', UPLOAD_STATES.indexOf(state))
      .toArray()
      .map(toUpload)
  }

  /** Different files can be announced by one name. */
  uploadsOf(name: string): UploadRecord[] {
    return this.#sql.exec('SELECT * FROM uploads WHERE name = ?', name).toArray().map(toUpload)
  }

  totals(): { readonly count: number; readonly bytes: number } {
    const row = this.#sql.exec('SELECT count(*) AS count, coalesce(sum(size), 0) AS bytes FROM uploads').one()
    return { count: integer(row, 'count'), bytes: integer(row, 'bytes') }
  }

  addUpload(upload: UploadRecord): void {
    this.#sql.exec(
      'INSERT INTO uploads (upload_id, name, size, sha256, r2_upload_id) VALUES (?, ?, ?, ?, ?)',
      upload.id,
      upload.name,
      upload.size,
      upload.sha256,
      upload.r2UploadId,
    )
  }

  setState(id: string, state: UploadState): void {
    this.#sql.exec('UPDATE uploads SET complete = ? WHERE upload_id = ?', UPLOAD_STATES.indexOf(state), id)
  }

  deleteUpload(id: string): void {
    this.#sql.exec('DELETE FROM uploads WHERE upload_id = ?', id)
    this.#sql.exec('DELETE FROM parts WHERE upload_id = ?', id)
  }

  parts(uploadId: string): PartRecord[] {
    return this.#sql
      .exec('SELECT part, etag FROM parts WHERE upload_id = ? ORDER BY part', uploadId)
      .toArray()
      .map(row => ({ part: integer(row, 'part'), etag: text(row, 'etag') }))
  }

  addPart(uploadId: string, part: number, etag: string): void {
    this.#sql.exec(
      'INSERT OR REPLACE INTO parts (upload_id, part, etag) VALUES (?, ?, ?)',
      uploadId,
      part,
      etag,
    )
  }
}

function toUpload(row: Record<string, unknown>): UploadRecord {
  return {
    id: text(row, 'upload_id'),
    name: text(row, 'name'),
    size: integer(row, 'size'),
    sha256: text(row, 'sha256'),
    r2UploadId: textOrNull(row, 'r2_upload_id'),
    state: UPLOAD_STATES[integer(row, 'complete')] ?? 'open',
  }
}
