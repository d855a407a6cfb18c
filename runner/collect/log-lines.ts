/** One piece of a session's output, as the executor hands it on. */
export interface LogFrame {
  readonly stream: 'stdout' | 'stderr'
  /** RFC 3339 in UTC, with whatever fraction of a second the source knows. */
  readonly at: string
  readonly bytes: Uint8Array
}

const NEWLINE = 0x0a
const encoder = new TextEncoder()

/**
 * Makes lines of frames: `<time> <stream> <text>`, the time with nine digits behind the point.
 *
 * A frame may end in the middle of a line, and the other stream's may come next; then the line is broken there, so
 * that every line of the log has one stream. The text depends on the frames alone: read again, they give it again.
 */
export class LogLines {
  /** The stream whose line is still open. */
  #open: LogFrame['stream'] | null = null

  push(frames: readonly LogFrame[]): Uint8Array {
    const parts: Uint8Array[] = []
    for (const frame of frames) this.#add(frame, parts)
    return Buffer.concat(parts)
  }

  #add({ stream, at, bytes }: LogFrame, parts: Uint8Array[]): void {
    if (bytes.length === 0) return
    if (this.#open !== null && this.#open !== stream) parts.push(Uint8Array.of(NEWLINE))
    const prefix = encoder.encode(`${nineDigits(at)} ${stream} `)
    let isOpen = this.#open === stream
    let from = 0
    while (from < bytes.length) {
      const newline = bytes.indexOf(NEWLINE, from)
      const end = newline === -1 ? bytes.length : newline + 1
      if (!isOpen) parts.push(prefix)
      parts.push(bytes.subarray(from, end))
      isOpen = newline === -1
      from = end
    }
    this.#open = isOpen ? stream : null
  }
}

function nineDigits(at: string): string {
  const [, seconds, fraction = ''] = /^(.{19})(?:\.(\d{1,9}))?Z$/.exec(at) ?? []
  return seconds === undefined ? at : `${seconds}.${fraction.padEnd(9, '0')}Z`
}

/** `2026-01-01T00:00:00.000000000Z` */
const TIME_CHARS = 30
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/

/** @param at where a line begins @returns its time, which sorts as text; null for what has none */
export function timeOfLine(log: Uint8Array, at: number): string | null {
  const time = Buffer.from(log.buffer, log.byteOffset + at, Math.min(TIME_CHARS, log.length - at)).toString(
    'latin1',
  )
  return TIME.test(time) ? time : null
}
