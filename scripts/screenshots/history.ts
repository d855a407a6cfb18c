import { readdirSync } from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/** A day of a pool, which nobody can wait for: written into the objects of a control plane that is stopped. */

const MINUTE_MS = 60_000
const DAY_MINUTES = 24 * 60
/** A pool with fewer is not what the day is about. */
const MANY_SLOTS = 8

/** @param data folder of the control plane's databases @returns how many pools were given a day */
export function writeDay(data: string, now: number): number {
  const files = readdirSync(data, { recursive: true, encoding: 'utf8' }).filter(file =>
    file.endsWith('.sqlite'),
  )
  return files.filter(file => fill(path.join(data, file), now)).length
}

function fill(file: string, now: number): boolean {
  const database = new DatabaseSync(file)
  try {
    const tables = database.prepare("SELECT name FROM sqlite_master WHERE name = 'samples'").all()
    if (tables.length === 0) return false
    const row = database.prepare('SELECT coalesce(sum(slots_max), 0) AS slots FROM runners').get()
    const slots = Number(row?.slots)
    if (slots < MANY_SLOTS) return false
    const insert = database.prepare(
      'INSERT OR IGNORE INTO samples (at, queued, slots_busy, slots_total, oldest_queued_seconds) VALUES (?, ?, ?, ?, ?)',
    )
    for (let minute = DAY_MINUTES; minute > 5; minute--) {
      const at = Math.floor(now / MINUTE_MS - minute) * MINUTE_MS
      const wanted = demandAt(minute, slots)
      const queued = Math.max(0, wanted - slots)
      insert.run(at, queued, Math.min(slots, wanted), slots, queued === 0 ? null : queued * 20)
    }
    return true
  } finally {
    database.close()
  }
}

/** Two busy spells a day with bursts in them, the same every time. */
function demandAt(minute: number, slots: number): number {
  const hour = (minute / 60) % 24
  const spell = Math.exp(-((hour - 7) ** 2) / 6) + 0.8 * Math.exp(-((hour - 13) ** 2) / 5)
  const burst = 0.35 * Math.abs(Math.sin(minute / 9) * Math.sin(minute / 31))
  return Math.round(slots * (spell * (0.75 + burst) + 0.08))
}
