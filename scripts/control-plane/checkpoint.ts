import { readdirSync } from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/**
 * Folds every database's write-ahead log into it and empties the log. What was overwritten and deleted, such as the
 * environment of an ended run, stays readable in the log until then, and would go into backups.
 *
 * Only while nothing has the databases open.
 */
export function checkpointDatabases(folder: string): void {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.name.endsWith('.sqlite')) continue
    const database = new DatabaseSync(path.join(entry.parentPath, entry.name))
    try {
      database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
    } finally {
      database.close()
    }
  }
}
