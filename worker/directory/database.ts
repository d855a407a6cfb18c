import { type DrizzleD1Database, drizzle } from 'drizzle-orm/d1'

/**
 * D1: who there is and what they set up, and the history the pool objects project into it. The modules of this
 * folder are lists of named queries; each takes the tenant's id and none reads across tenants unless it says so.
 */
export type Directory = DrizzleD1Database

/** Made once for each binding: a sync must not pay for a query builder it never uses. */
const directories = new WeakMap<D1Database, Directory>()

export function openDirectory(database: D1Database): Directory {
  const known = directories.get(database)
  if (known !== undefined) return known
  const directory = drizzle(database)
  directories.set(database, directory)
  return directory
}

/** @param column `table.column`, as SQLite names it */
export function isUniqueViolation(error: unknown, column: string): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause.message.includes(`UNIQUE constraint failed: ${column}`)) return true
  }
  return false
}
