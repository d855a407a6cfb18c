import { z } from 'zod'
import { parseJson } from '../../../protocol/json.ts'
import { BLANK_CAUSES, WatchMode } from '../../../protocol/stream.ts'

/** What a socket carries through hibernation. It is parsed like anything else from outside this moment. */

const Pixels = z.number().nullable()

const Viewer = z.object({
  role: z.literal('viewer'),
  mode: WatchMode,
  /** The key or the link that let it in; revoking that closes it. */
  source: z.string(),
  /** When that stops being good, in epoch milliseconds. */
  until: z.number().nullable(),
  /** As far as it has to be known; see `core/flow.ts`. */
  flow: z.object({
    inFlight: z.array(z.number()).readonly(),
    last: z.number().nullable(),
    behindSince: z.number().nullable(),
  }),
  /** The page's size as it was last told. */
  width: Pixels,
  height: Pixels,
})
export type ViewerAttachment = z.infer<typeof Viewer>

export type PageSize = Pick<ViewerAttachment, 'width' | 'height'>

const Publisher = z.object({
  role: z.literal('publisher'),
  connected_at: z.number(),
  /** Whether it has sent a frame, and nothing since that takes it back. */
  framed: z.boolean(),
  /** Why it has nothing to show, since it said so. */
  blank: z.enum(BLANK_CAUSES).nullable(),
  width: Pixels,
  height: Pixels,
})
export type PublisherAttachment = z.infer<typeof Publisher>

const Attachment = z.discriminatedUnion('role', [Viewer, Publisher])
export type Attachment = z.infer<typeof Attachment>

/** As text, which the runtime stores several times as fast as an object; and it is written with every frame. */
export function attach(socket: { serializeAttachment(text: string): void }, state: Attachment): void {
  socket.serializeAttachment(JSON.stringify(state))
}

/** @returns null for a socket whose attachment is none of ours */
export function attachmentOf(socket: { deserializeAttachment(): unknown }): Attachment | null {
  const text = socket.deserializeAttachment()
  const json = parseJson(typeof text === 'string' ? text : '')
  const parsed = Attachment.safeParse(json.ok ? json.value : undefined)
  return parsed.success ? parsed.data : null
}
