import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Clock, jittered, sleep } from '../clock.ts'
import type { SessionLedger } from './ledger.ts'

const INTERVAL_MS = 10_000
const MIB = 1024 * 1024

/** Ends a session whose folder outgrows what this host gives it. Links are counted, never followed. */
export async function diskLoop(
  parts: {
    readonly ledger: SessionLedger
    readonly folderOf: (sessionId: string) => string
    readonly limitMb: number | null
    readonly clock: Clock
    readonly onChange: () => void
  },
  signal: AbortSignal,
): Promise<void> {
  const { ledger, folderOf, limitMb, clock, onChange } = parts
  if (limitMb === null) return
  while (!signal.aborted) {
    for (const id of ledger.runningIds()) {
      const usedMb = Math.floor((await sizeOf(folderOf(id))) / MIB)
      if (usedMb <= limitMb) continue
      const message = `the session folder holds ${usedMb} MB, above RUNNER_SESSION_DISK_MB ${limitMb}`
      ledger.end(id, 'disk_full', message, clock.now())
      onChange()
    }
    await sleep(jittered(INTERVAL_MS), signal)
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    const stat = await lstat(path)
    if (!stat.isDirectory()) return stat.blocks * 512
    let total = 0
    for (const name of await readdir(path)) total += await sizeOf(join(path, name))
    return total
  } catch {
    // Gone since it was listed, or shut off by the job: what cannot be looked at is not counted.
    return 0
  }
}
