import { and, inArray, type SQL, sql } from 'drizzle-orm'
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core'

/** Which of a tenant's named things are asked for; without anything, all. */
export interface NamedFilter {
  /** Part of the name. */
  readonly name?: string | undefined
  readonly ids?: readonly string[] | undefined
}

interface NamedTable {
  readonly id: SQLiteColumn
  readonly name: SQLiteColumn
}

/** `instr` takes every character as it is, `%` and `_` too; only ASCII letters lose their case. */
export function isAsked(table: NamedTable, { name = '', ids }: NamedFilter): SQL | undefined {
  return and(
    name === '' ? undefined : sql`instr(lower(${table.name}), lower(${name})) > 0`,
    ids === undefined ? undefined : inArray(table.id, [...ids]),
  )
}
