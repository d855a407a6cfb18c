/** The lines of a run's log, the newest of them only: a log may be larger than a page can bear. */

export const LINES_KEPT = 5_000

export interface LogLines {
  readonly lines: readonly string[]
  /** Whether there was more before the first of them. */
  readonly isCut: boolean
}

export const NO_LINES: LogLines = { lines: [], isCut: false }

/** Text that came, behind the lines there are. A last line without an end goes on with the next text. */
export function withText({ lines, isCut }: LogLines, text: string): LogLines {
  const parts = text.split('\n')
  const open = lines.at(-1) ?? ''
  const all = [...lines.slice(0, -1), open + (parts[0] ?? ''), ...parts.slice(1)]
  const tooMany = all.length - LINES_KEPT - 1
  return tooMany > 0 ? { lines: all.slice(tooMany), isCut: true } : { lines: all, isCut }
}
