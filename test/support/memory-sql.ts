import { DatabaseSync, type StatementSync } from 'node:sqlite'
import type { Sql, SqlValue } from '../../durable-objects/storage/sql.ts'

/** A real SQLite in memory behind the stores' slice of it: the same queries an object runs. */
export class MemorySql implements Sql {
  readonly #database = new DatabaseSync(':memory:')
  readonly #statements = new Map<string, StatementSync>()

  exec(query: string, ...bindings: SqlValue[]): Record<string, unknown>[] {
    let statement = this.#statements.get(query)
    if (statement === undefined) {
      statement = this.#database.prepare(query)
      // The schema is made once and dropped with the database; only repeated queries are worth keeping.
      if (!/^\s*(CREATE|DROP)/i.test(query)) this.#statements.set(query, statement)
    }
    return statement.all(...bindings) as Record<string, unknown>[]
  }

  /** All of `work` or, when it throws, nothing. */
  transaction<T>(work: () => T): T {
    this.#database.exec('BEGIN')
    try {
      const value = work()
      this.#database.exec('COMMIT')
      return value
    } catch (error) {
      this.#database.exec('ROLLBACK')
      throw error
    }
  }

  close(): void {
    this.#statements.clear()
    this.#database.close()
  }
}
