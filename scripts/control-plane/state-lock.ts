import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/**
 * One process per state folder. The lock is SQLite's lock on a file of its own: the kernel gives it back the
 * moment the process is gone, so a kill -9 leaves nothing stale and two starts at once cannot both win.
 */
export interface StateLock {
  release(): void
}

/** A predecessor that was just killed needs a moment to be gone. */
const WAIT_FOR_PREDECESSOR_MS = 2_000

/** @param holder what the process that may have it already is called @returns the lock, or a line that says who holds it */
export function lockState(
  stateDir: string,
  holder: string,
): { ok: true; lock: StateLock } | { ok: false; problem: string } {
  const owner = path.join(stateDir, 'owner')
  const database = new DatabaseSync(path.join(stateDir, 'lock.sqlite'), { timeout: WAIT_FOR_PREDECESSOR_MS })
  try {
    database.exec('BEGIN EXCLUSIVE')
  } catch {
    database.close()
    return { ok: false, problem: `${stateDir} is in use by another ${holder}${processOf(owner)}` }
  }
  writeFileSync(owner, `${process.pid}\n`, { mode: 0o600 })
  return { ok: true, lock: { release: () => database.close() } }
}

function processOf(owner: string): string {
  try {
    return ` (process ${readFileSync(owner, 'utf8').trim()})`
  } catch {
    return ''
  }
}
