import * as z from 'zod'
import { refusalOf, send } from '../../api/client.ts'
import { logUrl } from '../../api/runs.ts'
import { type LogLines, NO_LINES, withText } from './log-lines.ts'

/** Of a log that is over so much is read, from its end. */
const TAIL_BYTES = 2 * 1024 * 1024
/** A burst of events is shown at once. */
const SHOW_EVERY_MS = 150
/** A log that was refused is asked for again this much later: somebody may have signed in again. */
const AGAIN_MS = 3_000
const RANGE_NOT_SATISFIABLE = 416

export interface FollowedLog extends LogLines {
  /** What is written at the moment does not come. */
  readonly isLost: boolean
}

const LogEvent = z.object({ text: z.string() })

/** Goes on by itself after a lost connection, and after signing in again. @returns a function that stops it */
export function followLog(runId: string, onLog: (log: FollowedLog) => void): () => void {
  let source: EventSource
  let known: FollowedLog = { ...NO_LINES, isLost: false }
  let showing: ReturnType<typeof setTimeout> | undefined
  let again: ReturnType<typeof setTimeout> | undefined
  const show = () => {
    showing = undefined
    onLog(known)
  }
  const change = (next: Partial<FollowedLog>) => {
    known = { ...known, ...next }
    showing ??= setTimeout(show, SHOW_EVERY_MS)
  }
  const open = () => {
    source = new EventSource(`${logUrl(runId)}?follow=1`)
    source.addEventListener('open', () => change({ isLost: false }))
    // Another attempt begins with a log of its own.
    source.addEventListener('session', () => change(NO_LINES))
    source.addEventListener('log', ({ data }) => {
      const event = LogEvent.safeParse(JSON.parse(String(data)))
      if (event.success) change(withText(known, event.data.text))
    })
    source.addEventListener('end', () => source.close())
    source.addEventListener('error', () => {
      change({ isLost: true })
      // The browser dials again by itself where there was no answer, and gives up where it was refused.
      if (source.readyState === EventSource.CLOSED) again = setTimeout(open, AGAIN_MS)
    })
  }
  open()
  return () => {
    source.close()
    clearTimeout(showing)
    clearTimeout(again)
  }
}

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
