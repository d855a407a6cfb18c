import { accepted, type Result, refused } from '../../../protocol/errors.ts'
import type { SessionIdentity } from '../../session-identity.ts'
import { authenticate } from './authentication.ts'
import type { PoolContext } from './context.ts'
import { checkLease } from './expiry.ts'
import { recordEvent } from './run-state.ts'

/**
 * What a runner may still do about a session it names: publish while its lease is live, bring logs and artifacts then
 * and for a while after its own report has ended it. A session that ended in any other way is nobody's any more.
 */
export type Purpose = 'publish' | 'upload'

export function sessionGrant(
  ctx: PoolContext,
  runnerId: string,
  credentialHash: string,
  sessionId: string,
  purpose: Purpose,
): Result<SessionIdentity> {
  const known = authenticate(ctx, runnerId, credentialHash)
  if (!known.ok) return known
  const { runner, promoted } = known.value
  if (promoted) ctx.store.runners.update(runner)
  const identity = (runId: string): Result<SessionIdentity> =>
    accepted({
      tenant_id: ctx.pool.tenantId,
      pool_id: ctx.pool.poolId,
      run_id: runId,
      session_id: sessionId,
    })
  const lease = ctx.store.leases.get(runnerId, sessionId)
  if (lease !== null && checkLease(ctx, lease, runner)) {
    if (purpose === 'upload' || ctx.relayAllowed) return identity(lease.runId)
    return refused('feature_disabled', 'live view is off for this tenant')
  }
  const ended = purpose === 'upload' ? ctx.store.endedSessions.get(runnerId, sessionId) : null
  if (ended !== null && ctx.now < ended.endedAt + ctx.rules.uploadWindowMs) return identity(ended.runId)
  return refused('session_ended', 'the session is not a live one of this runner')
}

/** Makes it an event of the run, which may have ended meanwhile, once for each session, however often it is told. */
export function noteLogCut(
  ctx: PoolContext,
  runnerId: string,
  credentialHash: string,
  sessionId: string,
): Result<null> {
  const granted = sessionGrant(ctx, runnerId, credentialHash, sessionId, 'upload')
  if (!granted.ok) return granted
  const run = ctx.store.runs.get(granted.value.run_id)
  if (run === null || !ctx.store.runs.noteCut(run.id, sessionId)) return accepted(null)
  const detail = 'the log has reached its size cap; the rest of the output is not kept'
  recordEvent(ctx, run, 'log_truncated', detail, { sessionId, runnerId })
  ctx.store.runs.update(run)
  return accepted(null)
}
