import { z } from 'zod'
import { WatchMode } from '../../../protocol/stream.ts'

/** What a socket carries through hibernation. It is parsed like anything else from outside this moment. */

const Viewer = z.object({
  role: z.literal('viewer'),
  mode: WatchMode,
  /** The key or the link that let it in; revoking that closes it. */
  source: z.string(),
  /** When that stops being good, in epoch milliseconds. */
  until: z.number().nullable(),
  in_flight: z.array(z.number()),
  last: z.number().nullable(),
  /** When its credit ran out, in epoch milliseconds. */
  stalled_at: z.number().nullable(),
})
export type ViewerAttachment = z.infer<typeof Viewer>

const Publisher = z.object({
  role: z.literal('publisher'),
  connected_at: z.number(),
  framed: z.boolean(),
  width: z.number().nullable(),
  height: z.number().nullable(),
})
export type PublisherAttachment = z.infer<typeof Publisher>

const Attachment = z.discriminatedUnion('role', [Viewer, Publisher])
export type Attachment = z.infer<typeof Attachment>

/** @returns null for a socket whose attachment is none of ours: it is to be closed */
export function attachmentOf(socket: Pick<WebSocket, 'deserializeAttachment'>): Attachment | null {
  const parsed = Attachment.safeParse(socket.deserializeAttachment())
  return parsed.success ? parsed.data : null
}
