import * as z from 'zod'
import { ApiKeyId, LiveLinkId, MemberId, RunId } from './ids.ts'
import { RunStatus } from './run.ts'
import { WatchMode } from './stream.ts'
import { Timestamp } from './text.ts'

/** Permission to watch: tickets, which open one socket each, and links, which are exchanged for tickets. */

/** Long enough for a page to open its socket over a bad line, too short to be worth stealing. */
export const TICKET_TTL_SECONDS = 30

export const CreateViewerTicket = z.strictObject({ mode: WatchMode })
export const ViewerTicket = z.object({
  ticket: z.string(),
  expires_at: Timestamp,
  /** Where the websocket is opened, with the ticket as a subprotocol. */
  url: z.string(),
})
export type ViewerTicket = z.infer<typeof ViewerTicket>

export const CreateLiveLink = z.strictObject({
  mode: WatchMode,
  expires_in_seconds: z.number().int().min(60).max(2_592_000),
  max_viewers: z.number().int().min(1).max(1000),
})
/** `url` holds the link's secret in its fragment, which browsers send to nobody. Shown this once. */
export const CreatedLiveLink = z.object({ id: LiveLinkId, url: z.string(), expires_at: Timestamp })

export const LiveLink = z.object({
  id: LiveLinkId,
  run_id: RunId,
  /** As lists of runs have it; null where the run is no longer known. A link to a run that has ended opens nothing. */
  run_status: RunStatus.nullable().default(null),
  mode: WatchMode,
  hint: z.string(),
  max_viewers: z.number().int(),
  created_by: z.union([ApiKeyId, MemberId]),
  created_at: Timestamp,
  expires_at: Timestamp,
  last_used_at: Timestamp.nullable(),
  revoked_at: Timestamp.nullable(),
})
export type LiveLink = z.infer<typeof LiveLink>

export const ExchangeLiveLink = z.strictObject({ run_id: RunId, link: z.string().max(256) })
