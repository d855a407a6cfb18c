import { z } from 'zod'
import type { Result } from '../../protocol/errors.ts'
import type { WatchMode } from '../../protocol/stream.ts'
import type { SessionIdentity } from '../session-identity.ts'

/** What the Worker and the pool's object may ask of a session's relay. */
export interface SessionRelayRpc {
  /**
   * Stores the ticket; the first one initialises the object. The caller vouches that the session is live. `conflict`
   * when there is no room for another viewer.
   */
  admit(grant: TicketGrant): Promise<Result<null>>
  /** Closes every viewer that this key, link or member let in, and forgets its tickets. */
  revoke(source: string): Promise<void>
  /** Closes every socket; idempotent. An object that was never initialised stays so. */
  sessionEnded(): Promise<void>
}

/** A session is never given to a second runner. */
export const RelayIdentity = z.object({
  tenant_id: z.string(),
  pool_id: z.string(),
  run_id: z.string(),
  session_id: z.string(),
  runner_id: z.string(),
}) satisfies z.ZodType<SessionIdentity>
export type RelayIdentity = z.infer<typeof RelayIdentity>

export function isSameSession(one: RelayIdentity, other: RelayIdentity): boolean {
  return (
    one.tenant_id === other.tenant_id &&
    one.pool_id === other.pool_id &&
    one.run_id === other.run_id &&
    one.session_id === other.session_id &&
    one.runner_id === other.runner_id
  )
}

export type WatchableSession = Pick<RelayIdentity, 'session_id' | 'runner_id'>

export interface TicketGrant extends RelayIdentity {
  readonly ticket_hash: string
  readonly mode: WatchMode
  /** Epoch milliseconds. */
  readonly expires_at: number
  /** Id of the key, the link or the member it was made with. */
  readonly source: string
  /** When the source stops being good; its viewers are closed then. Null: never by itself. */
  readonly source_expires_at: number | null
  /** How many viewers the source may have at once; null: only the limit of all. */
  readonly source_max_viewers: number | null
}

/** Headers of the upgrades that the Worker forwards to `fetch`; it sets or removes every one of them. */
export const RELAY_HEADERS = {
  role: 'x-certyn-relay-role',
  /** JSON of a `RelayIdentity`; publishers only, vouched for by the pool's object. */
  identity: 'x-certyn-relay-identity',
  /** Of a viewer. */
  ticketHash: 'x-certyn-ticket-hash',
  runId: 'x-certyn-run-id',
} as const

/** What the relay tells the pool's object whenever it changes; the answer says whether the session is still live. */
export interface StreamReport {
  readonly viewers: number
  readonly publisher: boolean
  readonly state: 'off' | 'connecting' | 'live'
  /** The viewers were sent away, because the runner did not connect in time. */
  readonly gave_up?: boolean
  /** Only where metrics are asked for. */
  readonly counts?: StreamCounts
}

/** Of the session so far. A report holds all of it, so that a report that is lost or comes twice miscounts nothing. */
export interface StreamCounts {
  /** Connections of the runner, with those that were waited for in vain. */
  readonly connections: number
  /** Those that were. */
  readonly timeouts: number
  readonly frames_dropped: number
}
