import { logLine } from '../../durable-objects/log.ts'
import { goodSources } from '../../durable-objects/session-relay/sources.ts'
import { accepted, type Result, refused } from '../../protocol/errors.ts'
import { TICKET_TTL_SECONDS, type ViewerTicket } from '../../protocol/live.ts'
import { hashSecret, mintSecret } from '../../protocol/secrets.ts'
import type { WatchMode } from '../../protocol/stream.ts'
import { timestamp } from '../../protocol/text.ts'
import { noteAdmission } from '../directory/stream-admissions.ts'
import type { Edge } from '../edge.ts'
import { originOf } from '../runners/docker-run.ts'

export interface Admission {
  readonly tenantId: string
  readonly poolId: string
  readonly runId: string
  readonly mode: WatchMode
  /** Id of the key, the member or the link that lets the viewer in; revoking it closes the viewer's socket. */
  readonly source: string
  readonly sourceExpiresAt: number | null
  readonly sourceMaxViewers: number | null
}

/** Permission to open one socket to the run's live session, which its relay is told of. `not_running` when it has none. */
export async function issueTicket(edge: Edge, admission: Admission): Promise<Result<ViewerTicket>> {
  const { tenantId, poolId, runId, source } = admission
  const session = await edge.pool(poolId).watchableSession(runId)
  if (!session.ok) return session
  const { session_id, runner_id } = session.value
  const ticket = mintSecret('viewerTicket')
  // No ticket outlives what it was asked for with.
  const ownEnd = edge.now + TICKET_TTL_SECONDS * 1000
  const expiresAt = Math.min(ownEnd, admission.sourceExpiresAt ?? ownEnd)
  // Before the ticket exists: whoever revokes its source afterwards finds the relay.
  await noteAdmission(edge.directory, tenantId, source, session_id, edge.now)
  const admitted = await edge.relay(session_id).admit({
    tenant_id: tenantId,
    pool_id: poolId,
    run_id: runId,
    session_id,
    runner_id,
    ticket_hash: await hashSecret(ticket),
    mode: admission.mode,
    expires_at: expiresAt,
    source,
    source_expires_at: admission.sourceExpiresAt,
    source_max_viewers: admission.sourceMaxViewers,
  })
  if (!admitted.ok) return admitted
  // Whoever revokes the source from here on finds the ticket at the relay; whoever did so before is seen now.
  const good = await goodSources(edge.env.DB, tenantId, [source], Date.now())
  if (!good.has(source)) return refused('unauthenticated', 'What the ticket was asked for with was revoked.')
  logLine('info', 'viewer_ticket_issued', { run_id: runId, session_id, runner_id, source })
  const url = new URL(`/api/v1/runs/${runId}/stream`, originOf(edge.request))
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  return accepted({ ticket, expires_at: timestamp(expiresAt), url: url.href })
}
