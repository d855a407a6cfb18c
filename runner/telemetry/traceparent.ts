import { createHash } from 'node:crypto'

/**
 * The session's span in the trace of its run. Its id follows from the session's, so that whichever daemon sees the
 * session end knows which span the job was told, also one that was started since.
 */
export function sessionSpanId(sessionId: string): string {
  return createHash('sha256').update(sessionId).digest('hex').slice(0, 16)
}

/** @param traceparent of the call that created the run @returns what the job is told: that it is a part of the session */
export function sessionTraceparent(traceparent: string, sessionId: string): string {
  const [version, traceId, , flags] = traceparent.split('-')
  return [version, traceId, sessionSpanId(sessionId), flags].join('-')
}
