import type { Refusal } from '../../../protocol/errors.ts'
import { PUBLISHER_PULSE, STREAM_CLOSE } from '../../../protocol/stream.ts'
import type { PublisherAttachment, ViewerAttachment } from './attachments.ts'

/** Who may come, and who may not stay. */

/** A viewer that could have had a newer frame for so long and acknowledged nothing is gone, whatever its socket says. */
const STALLED_LIMIT_MS = 300_000
/**
 * A page pings every few seconds, in the background, where browsers let it act once a minute, less often. Past this its
 * line has broken without a word, and its place is somebody else's.
 */
const VIEWER_SILENCE_MS = 90_000
/** So long after the last one took a frame nobody is watching; with the frames before it, within two seconds. */
const UNTAKEN_LIMIT_MS = 1_500

export interface Leaving {
  readonly code: number
  readonly reason: string
}

export const REVOKED: Leaving = {
  code: STREAM_CLOSE.unauthenticated,
  reason: 'permission to watch was revoked',
}
export const UNREADABLE: Leaving = {
  code: STREAM_CLOSE.malformed,
  reason: 'a message that is not of this protocol',
}
export const ONLY_WATCHES: Leaving = { code: STREAM_CLOSE.forbidden, reason: 'this viewer may only watch' }

export function whyFull(
  source: { readonly source_max_viewers: number | null },
  watching: { readonly all: number; readonly ofSource: number },
  limit: number,
): Refusal | null {
  if (watching.all >= limit) {
    return { code: 'conflict', detail: `${limit} viewers are watching already, the most there may be` }
  }
  const most = source.source_max_viewers
  if (most !== null && watching.ofSource >= most) {
    return { code: 'conflict', detail: `${most} viewers are using this link already` }
  }
  return null
}

/** @param pingedAt epoch milliseconds of the last ping; null for a viewer that never did, and need not */
export function whyLeave(
  { until, flow }: ViewerAttachment,
  pingedAt: number | null,
  now: number,
): Leaving | null {
  if (until !== null && until <= now) {
    return { code: STREAM_CLOSE.unauthenticated, reason: 'permission to watch has expired' }
  }
  if (flow.behindSince !== null && flow.behindSince + STALLED_LIMIT_MS <= now) {
    return { code: 1001, reason: 'nothing was acknowledged for five minutes' }
  }
  if (pingedAt !== null && pingedAt + VIEWER_SILENCE_MS <= now) {
    return { code: 1001, reason: 'no ping came for some while' }
  }
  return null
}

/** Whether frames have been coming for a while that no viewer has had room for. */
export function isNobodyTaking(
  viewers: Iterable<{ readonly state: ViewerAttachment }>,
  now: number,
): boolean {
  for (const { state } of viewers) {
    const { behindSince } = state.flow
    if (behindSince === null || behindSince + UNTAKEN_LIMIT_MS > now) return false
  }
  return true
}

/**
 * A line that breaks without a word leaves its socket open here. A publisher that pings, as runners do, is gone when
 * its pings stay away.
 * @param pingedAt epoch milliseconds of the last ping, null before the first
 * @returns when it is gone, should nothing more come; null for one of which nothing is known
 */
export function silentAt({ connected_at }: PublisherAttachment, pingedAt: number | null): number | null {
  return pingedAt === null ? null : Math.max(pingedAt, connected_at) + PUBLISHER_PULSE.silenceMs
}
