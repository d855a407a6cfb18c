import { readdirSync } from 'node:fs'
import { z } from 'zod'
import { refusalOf } from './refusal.ts'
import { parseJson, type Wrangler } from './wrangler.ts'

/**
 * The database comes before the code: a release only ever adds what the one before it can live with, so the code that
 * still runs while this goes on finds everything it knows.
 */
export interface Migrations {
  readonly pending: readonly string[]
  /** Applied by a later release than this one. */
  readonly unknown: readonly string[]
}

const Applied = z.array(z.object({ results: z.array(z.object({ name: z.string() })) }))
const BOOKS = 'SELECT name FROM d1_migrations ORDER BY id'
const NO_BOOKS_YET = /no such table: d1_migrations/

export function compareMigrations(files: readonly string[], applied: readonly string[]): Migrations {
  return {
    pending: files.filter(name => !applied.includes(name)).sort(),
    unknown: applied.filter(name => !files.includes(name)),
  }
}

export function migrationFiles(folder: string): string[] {
  return readdirSync(folder).filter(name => name.endsWith('.sql'))
}

/** Reads only: `wrangler d1 migrations list` would make the table of books. */
export async function appliedMigrations(wrangler: Pick<Wrangler, 'run'>, config: string): Promise<string[]> {
  const outcome = await wrangler.run([
    'd1',
    'execute',
    'DB',
    '--remote',
    '--json',
    '--command',
    BOOKS,
    '-c',
    config,
  ])
  if (outcome.ok) {
    const answers = parseJson('d1 execute', outcome.stdout, Applied)
    return answers.flatMap(({ results }) => results.map(({ name }) => name))
  }
  if (NO_BOOKS_YET.test(outcome.failure.output)) return []
  throw refusalOf('read which migrations the database has', outcome.failure)
}

/** Each is applied whole or not at all, by wrangler; those before one that fails stay. */
export async function applyMigrations(wrangler: Pick<Wrangler, 'run'>, config: string): Promise<void> {
  const outcome = await wrangler.run(['d1', 'migrations', 'apply', 'DB', '--remote', '-c', config])
  if (!outcome.ok) throw refusalOf('apply the migrations', outcome.failure)
}
