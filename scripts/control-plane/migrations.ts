import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'

/**
 * Brings a D1 database to the newest of migrations/, keeping the books as `wrangler d1 migrations apply` does
 * (table d1_migrations, one row per file name), so that either tool can go on where the other stopped.
 */
const BOOKS = `CREATE TABLE IF NOT EXISTS d1_migrations(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT UNIQUE,
  applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL
)`

export interface Statement {
  bind(...values: unknown[]): Statement
}
/** The part of a D1 database this needs. */
export interface MigratableDatabase {
  prepare(sql: string): Statement & { all(): Promise<{ results: Record<string, unknown>[] }> }
  batch(statements: Statement[]): Promise<unknown>
}

/**
 * Each file and its row in the books are one transaction.
 *
 * @returns the names of the files applied now
 * @throws naming the file that failed; it and all after it are then not applied
 */
export async function applyMigrations(database: MigratableDatabase, folder: string): Promise<string[]> {
  await database.batch([database.prepare(BOOKS)])
  const { results } = await database.prepare('SELECT name FROM d1_migrations').all()
  const applied = new Set(results.map(row => row.name))
  const pending = readdirSync(folder)
    .filter(name => name.endsWith('.sql') && !applied.has(name))
    .sort()
  for (const name of pending) {
    const statements = statementsOf(readFileSync(path.join(folder, name), 'utf8'))
    try {
      await database.batch([
        ...statements.map(sql => database.prepare(sql)),
        database.prepare('INSERT INTO d1_migrations (name) VALUES (?)').bind(name),
      ])
    } catch (error) {
      throw new Error(`migration ${name} failed: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  return pending
}

/** drizzle-kit separates statements with this comment, because a `;` may also be inside a trigger or a string. */
function statementsOf(sql: string): string[] {
  return sql
    .split('--> statement-breakpoint')
    .map(statement => statement.trim())
    .filter(statement => statement !== '')
}
