import { z } from 'zod'
import { logLine } from '../../durable-objects/log.ts'
import {
  RELAY_HEADERS,
  type RelayIdentity,
  type WatchableSession,
} from '../../durable-objects/session-relay/rpc.ts'
import { ERROR_CODES, type Result, refused } from '../../protocol/errors.ts'
import { isWellFormedSecret } from '../../protocol/secrets.ts'
import { STREAM_SUBPROTOCOL, TICKET_SUBPROTOCOL_PREFIX } from '../../protocol/stream.ts'
import type { Edge } from '../edge.ts'
import type { Reply } from '../http/reply.ts'
import { originOf } from '../runners/docker-run.ts'

/** Websocket upgrades on their way to a session's relay. Every refusal is one before the upgrade. */

export function isUpgrade(request: Request): boolean {
  return request.headers.get('upgrade')?.toLowerCase() === 'websocket'
}

/** Browsers send the page's origin, and only pages of this control plane may watch. Other programs send none. */
export function isOwnOrigin(request: Request): boolean {
  const origin = request.headers.get('origin')
  return origin === null || origin === originOf(request)
}

/** @returns the ticket among the offered subprotocols */
export function offeredTicket(request: Request): Result<string> {
  const offered = (request.headers.get('sec-websocket-protocol') ?? '').split(',').map(one => one.trim())
  if (!offered.includes(STREAM_SUBPROTOCOL)) {
    return refused(
      'invalid_request',
      `Offer the subprotocol ${STREAM_SUBPROTOCOL}, then ${TICKET_SUBPROTOCOL_PREFIX}<ticket>.`,
    )
  }
  const [ticket, ...more] = offered
    .filter(one => one.startsWith(TICKET_SUBPROTOCOL_PREFIX))
    .map(one => one.slice(TICKET_SUBPROTOCOL_PREFIX.length))
  const isGood = ticket !== undefined && more.length === 0 && isWellFormedSecret('viewerTicket', ticket)
  return isGood ? { ok: true, value: ticket } : BAD_TICKET
}

/** One answer for every ticket that does not open this run's stream, so that it tells nothing of other runs. */
export const BAD_TICKET = refused(
  'unauthenticated',
  'The ticket does not open this stream: it was used, has expired, or is for another run. Take a new one.',
)

type RelayRole =
  | { readonly role: 'publisher'; readonly identity: RelayIdentity }
  | {
      readonly role: 'viewer'
      readonly runId: string
      readonly session: WatchableSession
      readonly ticketHash: string
    }

const Refused = z.object({ code: z.enum(ERROR_CODES), detail: z.string() })

/** Only these headers tell the relay who comes; whatever the outside sent under their names is dropped. */
export async function upgradeAt(edge: Edge, who: RelayRole): Promise<Result<Reply<never>>> {
  const ids = idsOf(who)

  const headers = new Headers({ upgrade: 'websocket', [RELAY_HEADERS.role]: who.role })
  if (who.role === 'publisher') headers.set(RELAY_HEADERS.identity, JSON.stringify(who.identity))
  else {
    headers.set(RELAY_HEADERS.ticketHash, who.ticketHash)
    headers.set(RELAY_HEADERS.runId, who.runId)
  }
  const response = await edge.relay(ids.session_id).fetch(new Request(edge.request.url, { headers }))
  if (response.status === 101) {
    logLine('info', `relay_${who.role}_upgraded`, ids)
    return { ok: true, value: { status: 'raw', response } }
  }
  const refusal = Refused.safeParse(await response.json().catch(() => null))
  const code = refusal.success ? refusal.data.code : `status ${response.status}`
  logLine('warn', `relay_${who.role}_refused`, { ...ids, code })
  if (!refusal.success) return refused('overloaded', 'The relay could not take the connection.')
  return refusal.data.code === 'unauthenticated' ? BAD_TICKET : { ok: false, error: refusal.data }
}

function idsOf(who: RelayRole) {
  const { session_id, runner_id } = who.role === 'publisher' ? who.identity : who.session
  const run_id = who.role === 'publisher' ? who.identity.run_id : who.runId
  return { run_id, session_id, runner_id }
}
