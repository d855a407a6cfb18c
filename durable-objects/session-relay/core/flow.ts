import { FRAMES_IN_FLIGHT } from '../../../protocol/stream.ts'

/**
 * Credit of one viewer. A socket here has no backpressure, so a viewer's acks are the only sign that it keeps up:
 * at most `FRAMES_IN_FLIGHT` frames are on their way to it, and what it cannot take is skipped, never queued.
 *
 * That there is something newer is remembered and not told from sequence numbers: a publisher that began anew may
 * come by the very numbers it had before.
 */
export interface Flow {
  /** Sequence numbers sent and not acknowledged, oldest first. */
  readonly inFlight: readonly number[]
  /** The last one sent; null before the first. */
  readonly last: number | null
  /** Since when there has been a newer frame than it could take, in epoch milliseconds. */
  readonly behindSince: number | null
}

export const FRESH: Flow = { inFlight: [], last: null, behindSince: null }

/** What a frame means for the viewer: it is sent, or the viewer is behind from now on, or was so before. */
export type Given =
  | { readonly sent: true; readonly flow: Flow; readonly skipped: number }
  | { readonly sent: false; readonly flow: Flow }

export function give(flow: Flow, seq: number, now: number): Given {
  if (flow.inFlight.length >= FRAMES_IN_FLIGHT) {
    return { sent: false, flow: flow.behindSince === null ? { ...flow, behindSince: now } : flow }
  }
  const next = { inFlight: [...flow.inFlight, seq], last: seq, behindSince: null }
  return { sent: true, flow: next, skipped: skippedBetween(flow.last, seq) }
}

/** An ack stands for its frame and all before it; one for a frame that is not on its way changes nothing. */
export function acknowledge(flow: Flow, seq: number): Flow {
  const at = flow.inFlight.indexOf(seq)
  return at === -1 ? flow : { ...flow, inFlight: flow.inFlight.slice(at + 1) }
}

/**
 * Whether what is stored of a flow may stay although an ack has come. It has to show credit where there is some, or
 * an object that forgot would wait for an ack that has been; showing less of it than there is costs one frame ahead.
 */
export function mayStay(stored: Flow): boolean {
  return stored.inFlight.length < FRAMES_IN_FLIGHT && stored.behindSince === null
}

const SEQ_MODULUS = 2 ** 32

/** Sequence numbers wrap around. One that went back is a publisher that began anew: nothing is known to be missing. */
function skippedBetween(last: number | null, seq: number): number {
  if (last === null) return 0
  const steps = (seq - last + SEQ_MODULUS) % SEQ_MODULUS
  return steps === 0 || steps > SEQ_MODULUS / 2 ? 0 : steps - 1
}
