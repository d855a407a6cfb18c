import { refusalOf, send } from '../../api/client.ts'
import { type LogLines, NO_LINES, withText } from './log-lines.ts'

/** Of a log that is over so much is read, from its end. */
const TAIL_BYTES = 2 * 1024 * 1024
const RANGE_NOT_SATISFIABLE = 416

/**
 * The end of a log that does not grow any more.
 * @throws Refused or Unreachable, as `call` does
 */
export async function readLogEnd(runId: string, signal: AbortSignal): Promise<LogLines> {
  const response = await send(`/runs/${runId}/logs`, {
    signal,
    headers: { range: `bytes=-${TAIL_BYTES}` },
  })
  // An empty log has no range.
  if (response.status === RANGE_NOT_SATISFIABLE) return NO_LINES
  if (!response.ok) throw await refusalOf(response)
  const isPart = /^bytes (?!0-)/.test(response.headers.get('content-range') ?? '')
  const text = await response.text()
  const read = withText(NO_LINES, isPart ? text.slice(text.indexOf('\n') + 1) : text)
  return { lines: read.lines, isCut: read.isCut || isPart }
}
