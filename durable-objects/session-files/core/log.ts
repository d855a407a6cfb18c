/** A session's log as it stands. `length` counts what the runner has sent and was kept; its offsets are these. */
export interface LogRecord {
  readonly length: number
  readonly complete: boolean
  /** The size cap was reached: nothing further is kept. */
  readonly truncated: boolean
}

export type Append =
  | { readonly kind: 'mismatch'; readonly length: number }
  /** Already over: nothing is kept and nothing is wrong. */
  | { readonly kind: 'nothing' }
  /** Keep the first `take` bytes, and the notice after them if there is one. */
  | { readonly kind: 'keep'; readonly take: number; readonly notice: string | null; readonly log: LogRecord }

/** @param size bytes of the chunk @param capBytes the most of a log that is kept */
export function append(
  log: LogRecord,
  chunk: { readonly offset: number; readonly size: number; readonly complete: boolean },
  capBytes: number,
): Append {
  if (log.truncated) return chunk.complete && !log.complete ? keepNothing(log) : { kind: 'nothing' }
  if (chunk.offset !== log.length) return { kind: 'mismatch', length: log.length }
  if (log.complete) return chunk.size === 0 ? { kind: 'nothing' } : { kind: 'mismatch', length: log.length }
  // The cap may have been lowered since.
  const take = Math.max(0, Math.min(chunk.size, capBytes - log.length))
  const truncated = take < chunk.size
  return {
    kind: 'keep',
    take,
    notice: truncated ? noticeOf(capBytes) : null,
    log: { length: log.length + take, complete: chunk.complete, truncated },
  }
}

function keepNothing(log: LogRecord): Append {
  return { kind: 'keep', take: 0, notice: null, log: { ...log, complete: true } }
}

function noticeOf(capBytes: number): string {
  return `\n--- the log is cut here: no more than ${capBytes} bytes of a log are kept (SelfHosted__LogCapBytes) ---\n`
}
