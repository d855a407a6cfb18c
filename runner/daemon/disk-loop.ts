import { type Clock, jittered, sleep } from '../clock.ts'
import { type Log, reasonOf } from '../log.ts'
import { measureTree } from '../state/tree.ts'
import type { SessionLedger } from './ledger.ts'

const INTERVAL_MS = 10_000
const MIB = 1024 * 1024

interface DiskLoopParts {
  readonly ledger: Pick<SessionLedger, 'runningIds' | 'end'>
  readonly folderOf: (sessionId: string) => string
  readonly limitMb: number | null
  readonly clock: Clock
  readonly log: Pick<Log, 'warn'>
  readonly onChange: () => void
}

/**
 * Ends a session whose folder outgrows what this host gives it, or cannot be looked at: a job must not be able to hide
 * what it takes by shutting a directory. Each folder is looked at on its own, so that a large one delays no other.
 */
export async function diskLoop(parts: DiskLoopParts, signal: AbortSignal): Promise<void> {
  const { ledger, limitMb } = parts
  if (limitMb === null) return
  const looking = new Map<string, Promise<void>>()
  while (!signal.aborted) {
    for (const id of ledger.runningIds()) {
      if (looking.has(id)) continue
      const looked = look(parts, id, limitMb).finally(() => looking.delete(id))
      looking.set(id, looked)
    }
    await sleep(jittered(INTERVAL_MS), signal)
  }
  await Promise.all(looking.values())
}

async function look(parts: DiskLoopParts, id: string, limitMb: number): Promise<void> {
  const { ledger, folderOf, clock, log, onChange } = parts
  try {
    const excess = await excessOf(folderOf(id), limitMb)
    if (excess === null) return
    ledger.end(id, 'disk_full', excess, clock.now())
    onChange()
  } catch (error) {
    const line = { session_id: id, error: reasonOf(error) }
    log.warn(line, 'the size of a session folder cannot be taken now; looking again')
  }
}

/** @returns what is wrong with the folder's size, or null */
async function excessOf(folder: string, limitMb: number): Promise<string | null> {
  const { bytes, isWhole } = await measureTree(folder, limitMb * MIB)
  if (bytes > limitMb * MIB) return `the session folder holds more than RUNNER_SESSION_DISK_MB ${limitMb}`
  if (isWhole) return null
  return `the session folder cannot be looked at as a whole, so not be kept to RUNNER_SESSION_DISK_MB ${limitMb}`
}
