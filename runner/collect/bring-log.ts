import { LOG_CHUNK_LIMIT_BYTES } from '../../protocol/limits.ts'
import { explain } from '../api/classify.ts'
import type { ApiFailure } from '../api/client.ts'
import type { UploadCalls } from '../api/uploads.ts'
import type { Clock } from '../clock.ts'
import type { Latch } from '../latch.ts'
import type { Log } from '../log.ts'
import type { Patience } from './patience.ts'
import type { Spool } from './spool.ts'

/** Output that comes little by little is brought this often. */
const PACE_MS = 500
/** So much output is brought at once without waiting. */
const EAGER_BYTES = 256 * 1024
const IDLE_MS = 15_000

export interface LogToBring {
  readonly spool: Spool
  /** Raised when it grows, and when it is closed. */
  readonly grown: Latch
  readonly calls: Pick<UploadCalls, 'appendLog'>
  readonly sessionId: string
  readonly patience: Patience
  readonly clock: Clock
  readonly log: Log
}

/**
 * Brings the spool while it grows and says where it ends, unless the control plane takes no more of it. The control
 * plane's word counts for where its copy stands.
 */
export async function bringLog(parts: LogToBring, signal: AbortSignal): Promise<void> {
  const { spool, calls, sessionId, patience, log } = parts
  let offset = 0
  let failures = 0
  /** An earlier process may have brought some of it: asked for before anything is sent twice. */
  let isPlaced = spool.length === 0
  /** The control plane keeps nothing more; it only wants to hear of the end. */
  let isCut = false
  while (!signal.aborted) {
    if (isPlaced) await gather(parts, isCut ? Number.POSITIVE_INFINITY : offset, signal)
    if (signal.aborted) break
    const isLast = isPlaced && spool.isClosed
    const bytes = isPlaced && !isCut ? await spool.read(offset, LOG_CHUNK_LIMIT_BYTES) : new Uint8Array()
    const complete = isLast && (isCut || offset + bytes.length >= spool.length)
    const chunk = { offset, bytes, complete, cut: spool.isFull }
    const sent = await calls.appendLog(sessionId, chunk, signal)
    const stands = sent.ok ? null : standsAt(sent.failure)
    if (sent.ok) {
      failures = 0
      patience.renew()
      if (complete) return
      isPlaced = true
      offset += bytes.length
      isCut = sent.value.truncated
    } else if (stands === offset) {
      log.warn({ length: offset }, 'the control plane has closed the log; the rest of it is not taken')
      return
    } else if (stands !== null) {
      // Should it have more than there is now, nothing is added until there is more.
      isPlaced = true
      offset = stands
    } else {
      failures += 1
      if (await patience.mayTryAgain(sent.failure, failures, signal)) continue
      if (!signal.aborted) log.warn({ reason: explain(sent.failure) }, 'the rest of the log is not taken')
      return
    }
  }
}

/** Waits until a call is worth it: for enough bytes, for some after a while, and no longer than to the end. */
async function gather(
  { spool, grown, clock }: LogToBring,
  offset: number,
  signal: AbortSignal,
): Promise<void> {
  const waits = () => !signal.aborted && !spool.isClosed
  while (waits() && spool.length <= offset) await grown.wait(IDLE_MS, signal)
  const until = clock.now() + PACE_MS
  while (waits() && spool.length - offset < EAGER_BYTES && clock.now() < until) {
    await grown.wait(until - clock.now(), signal)
  }
}

/** Where the control plane's copy of the log ends, when that is what it answered. */
function standsAt(failure: ApiFailure): number | null {
  if (failure.kind !== 'refused' || failure.problem.code !== 'offset_mismatch') return null
  return failure.problem.length ?? null
}
