import * as z from 'zod'
import { SessionId } from './ids.ts'
import { parseJson } from './json.ts'
import { FRAME_LIMIT_BYTES } from './limits.ts'

/**
 * `certyn.stream.v1`: what passes between a session's publisher, the relay and its viewers.
 * Binary messages are frames; text messages are JSON with a `type`.
 *
 * The same messages pass over `stream.sock` between an agent (which listens there) and the runner, which
 * hands them on: `hello` and frames one way, `demand` and `input` the other.
 */
export const STREAM_SUBPROTOCOL = 'certyn.stream.v1'
/** A viewer's second subprotocol is this and its ticket, so that no secret is ever part of a URL. */
export const TICKET_SUBPROTOCOL_PREFIX = 'certyn.ticket.'

export const STREAM_CLOSE = {
  /** The ticket is not good, or what it was made with was revoked. */
  unauthenticated: 4401,
  /** A viewer that may only watch sent input. */
  forbidden: 4403,
  /** No such run, or it has no live session. */
  notFound: 4404,
  /** The publisher did not connect in time. */
  publisherTimeout: 4408,
  /** A newer connection took this one's place. */
  replaced: 4409,
  sessionEnded: 4410,
  /** A frame or a message that is too large or not of this protocol. */
  malformed: 4413,
} as const

/** A viewer has at most this many frames on their way to it, and so has the relay from its publisher. */
export const FRAMES_IN_FLIGHT = 2
/**
 * The publisher sends the text `ping` now and then and after every frame; it is answered `pong` without waking the
 * relay. By it the publisher knows that a frame has arrived, and both ends find out that the other one is gone although
 * nothing said so: soon enough that viewers learn of a break of ten seconds while it lasts, and that the picture is
 * back right after. Two frames on a line of 400 kbit/s do not outlast the timeout.
 */
export const PUBLISHER_PULSE = {
  ping: 'ping',
  pong: 'pong',
  pingIntervalMs: 2_000,
  pongTimeoutMs: 4_000,
  /** Some pings in a row did not come. */
  silenceMs: 7_000,
} as const
/** Larger than any message a viewer or a publisher has reason to send as text. */
export const STREAM_TEXT_LIMIT_BYTES = 16 * 1024

export const FRAME_HEADER_BYTES = 13
const FRAME_TYPE_JPEG = 1

export interface Frame {
  /** Rises by one per frame of the publisher, modulo 2^32. */
  readonly seq: number
  /** Epoch milliseconds. */
  readonly capturedAtMs: number
  readonly image: Uint8Array
}

/** @returns header and image in one message: type, sequence (u32), capture time (u64), big-endian */
export function encodeFrame({ seq, capturedAtMs, image }: Frame): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + image.byteLength)
  const header = new DataView(bytes.buffer)
  header.setUint8(0, FRAME_TYPE_JPEG)
  header.setUint32(1, seq)
  header.setBigUint64(5, BigInt(capturedAtMs))
  bytes.set(image, FRAME_HEADER_BYTES)
  return bytes
}

/** @returns the frame, whose image shares the message's memory; null for what is not a frame or is too large */
export function decodeFrame(message: Uint8Array): Frame | null {
  if (message.byteLength <= FRAME_HEADER_BYTES || message.byteLength > FRAME_LIMIT_BYTES) return null
  const header = new DataView(message.buffer, message.byteOffset, FRAME_HEADER_BYTES)
  if (header.getUint8(0) !== FRAME_TYPE_JPEG) return null
  const capturedAtMs = Number(header.getBigUint64(5))
  if (!Number.isSafeInteger(capturedAtMs)) return null
  return { seq: header.getUint32(1), capturedAtMs, image: message.subarray(FRAME_HEADER_BYTES) }
}

export const WATCH_MODES = ['view', 'control'] as const
export const WatchMode = z.enum(WATCH_MODES)
export type WatchMode = z.infer<typeof WatchMode>

const Pixels = z.number().int().min(1).max(16_384)
const SEQ_MAX = 0xffff_ffff
const Seq = z.number().int().min(0).max(SEQ_MAX)

/**
 * To a viewer, first of all, and again before the first frame of another size. Width and height are null until the
 * publisher has said them.
 */
const ViewerHello = z.object({
  type: z.literal('hello'),
  mode: WatchMode,
  session_id: SessionId,
  width: Pixels.nullable(),
  height: Pixels.nullable(),
})
/** What viewers are told while the runner is not connected: before it was for the first time, and after. */
export const RUNNER_AWAITED = {
  first: 'waiting for the runner to connect',
  again: 'the connection to the runner was lost; waiting for it to come back',
} as const
/** To a viewer, whenever it changes; `reason` is for people. */
const StreamStateMessage = z.object({
  type: z.literal('state'),
  stream: z.enum(['connecting', 'live', 'ended']),
  reason: z.string().optional(),
})
/** To a viewer, before the frame that follows those it was not sent. */
const Gap = z.object({ type: z.literal('gap'), skipped: z.number().int().min(1) })
export const ToViewer = z.discriminatedUnion('type', [ViewerHello, StreamStateMessage, Gap])
export type ToViewer = z.infer<typeof ToViewer>

/** Coordinates are CSS pixels of the page, as `hello` gives its size. */
const Coordinate = z.number().min(-16_384).max(16_384)
/** Bit field of the DevTools protocol: Alt 1, Ctrl 2, Meta 4, Shift 8. */
const Modifiers = z.number().int().min(0).max(15).default(0)
const MouseEvent = z.object({
  kind: z.literal('mouse'),
  action: z.enum(['move', 'down', 'up']),
  x: Coordinate,
  y: Coordinate,
  button: z.enum(['none', 'left', 'middle', 'right']).default('none'),
  /** Buttons held, as in the DOM's `MouseEvent.buttons`. */
  buttons: z.number().int().min(0).max(31).default(0),
  click_count: z.number().int().min(0).max(3).default(0),
  modifiers: Modifiers,
})
const WheelEvent = z.object({
  kind: z.literal('wheel'),
  x: Coordinate,
  y: Coordinate,
  delta_x: z.number().min(-10_000).max(10_000),
  delta_y: z.number().min(-10_000).max(10_000),
  modifiers: Modifiers,
})
const KeyEvent = z.object({
  kind: z.literal('key'),
  action: z.enum(['down', 'up']),
  /** As in the DOM's `KeyboardEvent`. */
  key: z.string().min(1).max(32),
  code: z.string().max(32),
  modifiers: Modifiers,
})
/** Composed or pasted text, inserted as it is. */
const TextEvent = z.object({ kind: z.literal('text'), text: z.string().min(1).max(4096) })
export const InputEvent = z.discriminatedUnion('kind', [MouseEvent, WheelEvent, KeyEvent, TextEvent])
export type InputEvent = z.infer<typeof InputEvent>

const Ack = z.object({ type: z.literal('ack'), seq: Seq })
const Input = z.object({ type: z.literal('input'), event: InputEvent })
export const FromViewer = z.discriminatedUnion('type', [Ack, Input])
export type FromViewer = z.infer<typeof FromViewer>

/** There is one ack for every frame that a viewer draws, and reading one by its schema costs more than passing a frame on. */
const USUAL_ACK = /^\{"type":"ack","seq":(0|[1-9]\d{0,9})\}$/

/** @returns the sequence number of an ack in its usual form; null for everything else, which `FromViewer` is for */
export function readAck(text: string): number | null {
  const seq = USUAL_ACK.exec(text)?.[1]
  return seq === undefined || Number(seq) > SEQ_MAX ? null : Number(seq)
}

/** What is wanted of the publisher: with no viewers, nothing. `refresh` asks for a frame of what is seen now. */
const Demand = z.object({
  type: z.literal('demand'),
  viewers: z.number().int().min(0),
  max_fps: z.number().int().min(1).max(120),
  refresh: z.boolean(),
})
export type Demand = z.infer<typeof Demand>
export const ToPublisher = z.discriminatedUnion('type', [Demand, Input])
export type ToPublisher = z.infer<typeof ToPublisher>

/** Size of the page in CSS pixels; sent first, and again when it changes. */
const PublisherHello = z.object({ type: z.literal('hello'), width: Pixels, height: Pixels })
export type PublisherHello = z.infer<typeof PublisherHello>
/**
 * What is missing: who listens on the session's socket, or speaks this protocol there, the browser behind it, a page in
 * that, or what made the page.
 */
export const BLANK_CAUSES = [
  'no_agent',
  'agent_broken',
  'no_browser',
  'no_page',
  'page_crashed',
  'other',
] as const
export type BlankCause = (typeof BLANK_CAUSES)[number]
const CAUSE_LIMIT_CHARS = 64
/** There is nothing to show, until the next frame; also for a cause that only a later release knows. */
const PublisherBlank = z.object({
  type: z.literal('blank'),
  cause: z.enum(BLANK_CAUSES).or(
    z
      .string()
      .max(CAUSE_LIMIT_CHARS)
      .transform(() => 'other' as const),
  ),
})
export const FromPublisher = z.discriminatedUnion('type', [PublisherHello, PublisherBlank])
export type FromPublisher = z.infer<typeof FromPublisher>

const Typed = z.object({ type: z.string() })
/** In either direction: what goes the wrong way is broken, not new. */
const TYPES: readonly string[] = [...FromPublisher.options, ...ToPublisher.options].map(
  ({ shape }) => shape.type.value,
)

/**
 * Control planes, runners and agents are not upgraded in one moment, so a message of a type that only a later release
 * has is told from one that is broken.
 *
 * @returns null for what is not of this protocol
 */
export function readMessage<Message>(
  schema: z.ZodType<Message>,
  text: string,
): Message | 'of_a_later_release' | null {
  const json = parseJson(text)
  if (!json.ok) return null
  const parsed = schema.safeParse(json.value)
  if (parsed.success) return parsed.data
  const typed = Typed.safeParse(json.value)
  return typed.success && !TYPES.includes(typed.data.type) ? 'of_a_later_release' : null
}
