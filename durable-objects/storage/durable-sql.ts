import type { Sql, SqlValue } from './sql.ts'

/** An object's SQLite behind the stores' slice of it, counting what its cursors read and write. */
export class DurableSql implements Sql {
  rowsRead = 0
  rowsWritten = 0
  readonly #storage: SqlStorage

  constructor(storage: SqlStorage) {
    this.#storage = storage
  }

  exec(query: string, ...bindings: SqlValue[]): Record<string, unknown>[] {
    const cursor = this.#storage.exec(query, ...bindings)
    const rows = cursor.toArray()
    this.rowsRead += cursor.rowsRead
    this.rowsWritten += cursor.rowsWritten
    return rows
  }
}
