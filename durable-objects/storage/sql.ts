export type SqlValue = string | number | null

/** The slice of SQLite the stores need. An object's storage has it, and so has any in-memory database. */
export interface Sql {
  exec(query: string, ...bindings: SqlValue[]): Record<string, unknown>[]
}

export function text(row: Record<string, unknown>, column: string): string {
  const value = row[column]
  if (typeof value !== 'string') throw new TypeError(`column ${column} is not text`)
  return value
}

export function textOrNull(row: Record<string, unknown>, column: string): string | null {
  return row[column] === null ? null : text(row, column)
}

export function integer(row: Record<string, unknown>, column: string): number {
  const value = row[column]
  if (typeof value !== 'number') throw new TypeError(`column ${column} is not a number`)
  return value
}

export function integerOrNull(row: Record<string, unknown>, column: string): number | null {
  return row[column] === null ? null : integer(row, column)
}

/** JSON columns hold only what this module's own stores wrote, so their shape is known. */
export function json<T>(row: Record<string, unknown>, column: string): T {
  return JSON.parse(text(row, column)) as T
}

export function jsonOrNull<T>(row: Record<string, unknown>, column: string): T | null {
  return row[column] === null ? null : json<T>(row, column)
}
