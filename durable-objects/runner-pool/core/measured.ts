import type { FailureCode, RunStatus, TerminalStatus } from '../../../protocol/run.ts'
import type { StreamCounts } from '../../session-relay/rpc.ts'
import type { PoolContext } from './context.ts'
import type { RunRecord } from './model.ts'

/** What a decision has made happen that is worth counting. Whoever counts does so with the same transaction. */
export type Measured =
  | { readonly type: 'lease_expired' }
  | { readonly type: 'relay'; readonly counts: StreamCounts }
  | { readonly type: 'picked_up'; readonly afterMs: number }
  | { readonly type: 'state_left'; readonly state: RunStatus; readonly afterMs: number }
  | { readonly type: 'run_ended'; readonly status: TerminalStatus; readonly code: FailureCode | null }

export const NOTHING_COUNTED: StreamCounts = { connections: 0, timeouts: 0, frames_dropped: 0 }

/** To be called before the run's status changes. */
export function measureLeaving(ctx: PoolContext, run: RunRecord): void {
  if (run.statusSince === null) return
  const afterMs = Math.max(0, ctx.now - run.statusSince)
  ctx.effects.measured.push({ type: 'state_left', state: run.status, afterMs })
}

/** A relay counts from its first viewer on; one that has forgotten counts from 0 again. */
export function countsSince(before: StreamCounts, now: StreamCounts): StreamCounts {
  const since = (name: keyof StreamCounts) =>
    now[name] < before[name] ? now[name] : now[name] - before[name]
  return {
    connections: since('connections'),
    timeouts: since('timeouts'),
    frames_dropped: since('frames_dropped'),
  }
}
