import type { Sql } from '../../storage/sql.ts'

/**
 * Append-only migrations of the object's database.
 *
 * Tables on a sync's path are WITHOUT ROWID and keyed by how they are read: an index costs a written row on
 * every change, and a sync must read and write the same few rows at 100 and at 100,000 queued runs.
 */
const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE pool (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    tenant_id TEXT NOT NULL, tenant_slug TEXT NOT NULL, pool_id TEXT NOT NULL,
    state TEXT NOT NULL, note TEXT
  );
  CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, spec TEXT NOT NULL, status TEXT NOT NULL, version INTEGER NOT NULL,
    attempt INTEGER NOT NULL, attempts_spent INTEGER NOT NULL, tried TEXT NOT NULL, lane_id INTEGER,
    session_id TEXT, runner_id TEXT, image_digest TEXT,
    queued_at INTEGER NOT NULL, queue_deadline INTEGER NOT NULL, started_at INTEGER, finished_at INTEGER,
    exit_code INTEGER, failure TEXT, cancel_requested_at INTEGER
  ) WITHOUT ROWID;
  CREATE TABLE run_env (run_id TEXT PRIMARY KEY, env TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE queue_deadlines (
    due INTEGER NOT NULL, run_id TEXT NOT NULL, PRIMARY KEY (due, run_id)
  ) WITHOUT ROWID;
  CREATE TABLE retention (
    finished_at INTEGER NOT NULL, run_id TEXT NOT NULL, PRIMARY KEY (finished_at, run_id)
  ) WITHOUT ROWID;
  CREATE TABLE lanes (
    lane_id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, queued INTEGER NOT NULL
  );
  CREATE TABLE queue (
    lane_id INTEGER NOT NULL, urgency INTEGER NOT NULL, queued_at INTEGER NOT NULL, run_id TEXT NOT NULL,
    PRIMARY KEY (lane_id, urgency, queued_at, run_id)
  ) WITHOUT ROWID;
  CREATE TABLE runners (
    runner_id TEXT PRIMARY KEY, name TEXT NOT NULL, token_id TEXT NOT NULL,
    credential_hash TEXT NOT NULL, pending_credential_hash TEXT,
    boot INTEGER NOT NULL, boot_id TEXT NOT NULL, seq INTEGER NOT NULL, synced INTEGER NOT NULL,
    slots_max INTEGER NOT NULL, profile TEXT NOT NULL,
    state TEXT NOT NULL, note TEXT, draining_itself INTEGER NOT NULL, has_left INTEGER NOT NULL,
    registered_at INTEGER NOT NULL, last_seen_at INTEGER NOT NULL, next_sync_ms INTEGER NOT NULL, health TEXT,
    renewed_at INTEGER NOT NULL, hold_ms INTEGER NOT NULL, removed_at INTEGER
  ) WITHOUT ROWID;
  CREATE UNIQUE INDEX runners_by_name ON runners (name) WHERE removed_at IS NULL;
  CREATE INDEX runners_removed ON runners (removed_at) WHERE removed_at IS NOT NULL;
  CREATE TABLE leases (
    runner_id TEXT NOT NULL, session_id TEXT NOT NULL, run_id TEXT NOT NULL, state TEXT NOT NULL,
    offered_at INTEGER NOT NULL, offer_ends_at INTEGER NOT NULL, accepted_at INTEGER, running_at INTEGER,
    frozen_until INTEGER, missing INTEGER NOT NULL, stop_reason TEXT, stop_requested_at INTEGER,
    notices TEXT NOT NULL, timeout_ms INTEGER NOT NULL, memory_mb INTEGER NOT NULL,
    PRIMARY KEY (runner_id, session_id)
  ) WITHOUT ROWID;
  CREATE TABLE commands (
    runner_id TEXT NOT NULL, command_id TEXT NOT NULL, session_id TEXT NOT NULL, type TEXT NOT NULL,
    reason TEXT, issued_at INTEGER NOT NULL,
    PRIMARY KEY (runner_id, command_id)
  ) WITHOUT ROWID;
  CREATE TABLE outbox (
    run_id TEXT NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, type TEXT NOT NULL,
    session_id TEXT, runner_id TEXT, detail TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
  ) WITHOUT ROWID;
  `,
  // Lanes that wait already are filed where every runner looks.
  `
  CREATE TABLE filed_lanes (
    lane_id INTEGER PRIMARY KEY, anchor TEXT NOT NULL, memory_mb INTEGER NOT NULL, key TEXT NOT NULL,
    queued INTEGER NOT NULL, UNIQUE (anchor, memory_mb, key)
  );
  INSERT INTO filed_lanes SELECT lane_id, '', json_extract(key, '$.memoryMb'), key, queued FROM lanes;
  DROP TABLE lanes;
  ALTER TABLE filed_lanes RENAME TO lanes;
  `,
  `
  CREATE TABLE streams (
    runner_id TEXT NOT NULL, session_id TEXT NOT NULL, state TEXT NOT NULL, viewers INTEGER NOT NULL,
    publisher INTEGER NOT NULL, PRIMARY KEY (runner_id, session_id)
  ) WITHOUT ROWID;
  CREATE TABLE ended_sessions (
    session_id TEXT PRIMARY KEY, runner_id TEXT NOT NULL, run_id TEXT NOT NULL, ended_at INTEGER NOT NULL
  ) WITHOUT ROWID;
  `,
  // Whoever had a run may have it again. A lane that waits already keeps what makes its key its own.
  `
  ALTER TABLE queue ADD COLUMN pauses TEXT;
  UPDATE runs SET tried = (
    SELECT json_group_array(json_object(
      'runnerId', json_extract(value, '$.runnerId'), 'until', 0, 'times', 1,
      'forbidden', json(iif(json_extract(value, '$.forbidden'), 'true', 'false'))
    )) FROM json_each(runs.tried)
  ) WHERE tried <> '[]';
  UPDATE lanes SET key = json_set(
    iif(json_array_length(key, '$.tried') = 0, json_remove(key, '$.tried'), key),
    '$.forbidden', json((
      SELECT json_group_array(json_extract(value, '$.runnerId')) FROM json_each(lanes.key, '$.tried')
      WHERE json_extract(value, '$.forbidden')
    )),
    '$.retried', json(iif(json_array_length(key, '$.tried') = 0, 'false', 'true'))
  );
  `,
  `
  CREATE TABLE samples (
    at INTEGER PRIMARY KEY, queued INTEGER NOT NULL, slots_busy INTEGER NOT NULL, slots_total INTEGER NOT NULL,
    oldest_queued_seconds INTEGER
  ) WITHOUT ROWID;
  `,
  `
  ALTER TABLE streams ADD COLUMN opened INTEGER NOT NULL DEFAULT 0;
  UPDATE streams SET opened = 1 WHERE state = 'live';
  `,
  `
  ALTER TABLE runs ADD COLUMN cut_sessions TEXT NOT NULL DEFAULT '[]';
  `,
  `
  ALTER TABLE runs ADD COLUMN status_since INTEGER;
  ALTER TABLE streams ADD COLUMN counts TEXT;
  CREATE TABLE unsent_counts (
    name TEXT NOT NULL, until INTEGER NOT NULL, since INTEGER NOT NULL, value INTEGER NOT NULL,
    PRIMARY KEY (name, until)
  ) WITHOUT ROWID;
  `,
]

/** True once the object was initialised; looking must not create anything. */
export function isInitialised(sql: Sql): boolean {
  const query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_version' LIMIT 1"
  return sql.exec(query).length > 0
}

/**
 * Brings an object's database to the newest schema. Call inside a transaction.
 * @param target an older version, for tests of what an upgrade makes of it
 */
export function migrate(sql: Sql, target = MIGRATIONS.length): void {
  sql.exec('CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)')
  const [row] = sql.exec('SELECT version FROM schema_version')
  const current = typeof row?.version === 'number' ? row.version : 0
  if (current >= target) return
  for (const migration of MIGRATIONS.slice(current, target)) {
    for (const statement of migration.split(';')) if (statement.trim() !== '') sql.exec(statement)
  }
  sql.exec('DELETE FROM schema_version')
  sql.exec('INSERT INTO schema_version (version) VALUES (?)', target)
}
