import { logLine } from '../log.ts'
import type { RelayIdentity } from './rpc.ts'

export type Log = typeof logLine

/** Lines that say whose relay it is, as the other ends of the same stream do in theirs. */
export function logOf({ pool_id, run_id, session_id, runner_id }: RelayIdentity): Log {
  return (level, event, fields) =>
    logLine(level, event, { pool_id, run_id, session_id, runner_id, ...fields })
}
