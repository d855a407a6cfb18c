import { FRAMES_IN_FLIGHT } from '../../../protocol/stream.ts'

/**
 * Credit of one viewer. A socket here has no backpressure, so a viewer's acks are the only sign that it keeps up:
 * at most `FRAMES_IN_FLIGHT` frames are on their way to it, and what it cannot take is skipped, never queued.
 */
export interface Flow {
  /** Sequence numbers sent and not acknowledged, oldest first. */
  readonly inFlight: readonly number[]
  /** The last one sent; null before the first. */
  readonly last: number | null
}

/** What sending the frame `seq` now would mean, or null while the viewer has no credit for it. */
export function give(flow: Flow, seq: number): { readonly flow: Flow; readonly skipped: number } | null {
  if (flow.inFlight.length >= FRAMES_IN_FLIGHT) return null
  return { flow: { inFlight: [...flow.inFlight, seq], last: seq }, skipped: skippedBetween(flow.last, seq) }
}

/** An ack stands for its frame and all before it; one for a frame that is not on its way changes nothing. */
export function acknowledge(flow: Flow, seq: number): Flow {
  const at = flow.inFlight.indexOf(seq)
  return at === -1 ? flow : { ...flow, inFlight: flow.inFlight.slice(at + 1) }
}

const SEQ_MODULUS = 2 ** 32

/** Sequence numbers wrap around. One that went back is a publisher that began anew: nothing is known to be missing. */
function skippedBetween(last: number | null, seq: number): number {
  if (last === null) return 0
  const steps = (seq - last + SEQ_MODULUS) % SEQ_MODULUS
  return steps === 0 || steps > SEQ_MODULUS / 2 ? 0 : steps - 1
}
