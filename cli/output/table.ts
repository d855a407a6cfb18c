import stringWidth from 'string-width'

export interface Column<Row> {
  readonly title: string
  readonly of: (row: Row) => string
  /** Never cut: what has to be copied whole. */
  readonly isWhole?: boolean
  /** Colours the cell, whose text stays as it is. */
  readonly paint?: (cell: string, row: Row) => string
}

const GAP = '  '
const NARROWEST = 6

/**
 * Rows under their titles. Where a width is given no line is wider: the widest columns that may be cut are cut first,
 * then columns fall away from the right.
 *
 * @param width in terminal cells; null for no limit
 */
export function table<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  width: number | null,
): string[] {
  const cells = rows.map(row => columns.map(({ of }) => printable(of(row))))
  const natural = columns.map(({ title }, at) =>
    Math.max(stringWidth(title), ...cells.map(line => stringWidth(line[at] ?? ''))),
  )
  const widths = fitted(natural, columns, width)
  const shown = columns.slice(0, widths.length)
  const lineOf = (texts: readonly string[], row: Row | null) =>
    shown
      .map(({ paint }, at) => {
        const cell = padded(cut(texts[at] ?? '', widths[at] ?? 0), widths[at] ?? 0)
        return row === null || paint === undefined ? cell : paint(cell, row)
      })
      .join(GAP)
      .trimEnd()
  return [
    lineOf(
      shown.map(({ title }) => title),
      null,
    ),
    ...rows.map((row, at) => lineOf(cells[at] ?? [], row)),
  ]
}

/** Two columns without titles. */
export function fields(entries: readonly (readonly [string, string])[], width: number | null): string[] {
  const nameWidth = Math.max(0, ...entries.map(([name]) => stringWidth(name)))
  const rest = width === null ? Number.POSITIVE_INFINITY : Math.max(NARROWEST, width - nameWidth - GAP.length)
  return entries.map(([name, value]) =>
    `${padded(name, nameWidth)}${GAP}${cut(printable(value), rest)}`.trimEnd(),
  )
}

/** @returns the widths of the columns that are shown */
function fitted(
  natural: readonly number[],
  columns: readonly Pick<Column<never>, 'isWhole'>[],
  width: number | null,
): number[] {
  if (width === null) return [...natural]
  const widths = [...natural]
  while (widths.length > 1 && total(narrowest(widths, columns)) > width) widths.pop()
  for (let over = total(widths) - width; over > 0; over--) {
    const at = widestToCut(widths, columns)
    if (at === null) return widths.map(one => Math.min(one, width))
    widths[at] = (widths[at] ?? 0) - 1
  }
  return widths
}

function narrowest(widths: readonly number[], columns: readonly Pick<Column<never>, 'isWhole'>[]): number[] {
  return widths.map((one, at) => (columns[at]?.isWhole ? one : Math.min(one, NARROWEST)))
}

function widestToCut(
  widths: readonly number[],
  columns: readonly Pick<Column<never>, 'isWhole'>[],
): number | null {
  let widest: number | null = null
  for (const [at, one] of widths.entries()) {
    const isCuttable = !columns[at]?.isWhole && one > NARROWEST
    if (isCuttable && one > (widest === null ? 0 : (widths[widest] ?? 0))) widest = at
  }
  return widest
}

function total(widths: readonly number[]): number {
  return widths.reduce((sum, one) => sum + one, 0) + GAP.length * Math.max(0, widths.length - 1)
}

/** Between characters as people see them; the last cell that is left says that something is missing. */
export function cut(text: string, width: number): string {
  if (stringWidth(text) <= width) return text
  let kept = ''
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    if (stringWidth(kept + segment) > width - 1) break
    kept += segment
  }
  return `${kept}…`
}

function padded(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - stringWidth(text)))
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: taking control characters out is the point
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g

/** What comes from elsewhere moves no cursor and starts no line. */
export function printable(text: string): string {
  return text.replaceAll(CONTROL, '·')
}
