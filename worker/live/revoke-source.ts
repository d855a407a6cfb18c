import { logLine, reasonOf } from '../../durable-objects/log.ts'
import { mapBounded } from '../concurrency.ts'
import { sessionsAdmittedBy } from '../directory/stream-admissions.ts'
import type { Edge } from '../edge.ts'

/** Relays told at once. */
const WIDTH = 6

/**
 * Closes every viewer that the key, member or link has let in. Whoever this does not reach is found by the relay itself,
 * which looks again every few seconds while somebody watches.
 */
export async function revokeSource(edge: Edge, tenantId: string, source: string): Promise<void> {
  const sessions = await sessionsAdmittedBy(edge.directory, tenantId, source, edge.now)
  await mapBounded(sessions, WIDTH, async sessionId => {
    try {
      await edge.relay(sessionId).revoke(source)
    } catch (error) {
      logLine('warn', 'viewers_not_told', { source, session_id: sessionId, reason: reasonOf(error) })
    }
  })
}
