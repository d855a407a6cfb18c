import * as z from 'zod'
import { logUrl } from '../../api/runs.ts'

/** The lines of a run's log as they come, the newest of them only: a log may be larger than a page can bear. */

export const LINES_KEPT = 5_000
/** Of a log that is over so much is read, from its end. */
const TAIL_BYTES = 2 * 1024 * 1024
/** A burst of events is shown at once. */
const SHOW_EVERY_MS = 150

export interface LogLines {
  readonly lines: readonly string[]
  /** Whether there was more before the first of them. */
  readonly isCut: boolean
}

export const NO_LINES: LogLines = { lines: [], isCut: false }

const LogEvent = z.object({ text: z.string() })

/** Pure: text that came, behind the lines there are. A last line without an end goes on with the next text. */
export function withText({ lines, isCut }: LogLines, text: string): LogLines {
  const parts = text.split('\n')
  const open = lines.at(-1) ?? ''
  const all = [...lines.slice(0, -1), open + (parts[0] ?? ''), ...parts.slice(1)]
  const tooMany = all.length - LINES_KEPT - 1
  return tooMany > 0 ? { lines: all.slice(tooMany), isCut: true } : { lines: all, isCut }
}

/** @returns a function that stops it */
export function followLog(runId: string, onLines: (lines: LogLines) => void): () => void {
  const source = new EventSource(`${logUrl(runId)}?follow=1`)
  let known = NO_LINES
  let timer: ReturnType<typeof setTimeout> | undefined
  const show = () => {
    timer = undefined
    onLines(known)
  }
  const change = (next: LogLines) => {
    known = next
    timer ??= setTimeout(show, SHOW_EVERY_MS)
  }
  // Another attempt begins with a log of its own.
  source.addEventListener('session', () => change(NO_LINES))
  source.addEventListener('log', ({ data }) => {
    const event = LogEvent.safeParse(JSON.parse(String(data)))
    if (event.success) change(withText(known, event.data.text))
  })
  source.addEventListener('end', () => source.close())
  return () => {
    source.close()
    clearTimeout(timer)
  }
}

/** The end of a log that does not grow any more. */
export async function readLogEnd(runId: string, signal: AbortSignal): Promise<LogLines> {
  const response = await fetch(logUrl(runId), {
    signal,
    credentials: 'same-origin',
    headers: { range: `bytes=-${TAIL_BYTES}` },
  })
  // An empty log has no range.
  if (!response.ok) return NO_LINES
  const isPart = /^bytes (?!0-)/.test(response.headers.get('content-range') ?? '')
  const text = await response.text()
  const read = withText(NO_LINES, isPart ? text.slice(text.indexOf('\n') + 1) : text)
  return { lines: read.lines, isCut: read.isCut || isPart }
}
