import { describe, expect, test } from 'vitest'
import { LINES_KEPT, type LogLines, NO_LINES, withText } from '../../dashboard/pages/runs/log-lines.ts'

function read(...texts: readonly string[]): LogLines {
  return texts.reduce(withText, NO_LINES)
}

describe('the lines of a log', () => {
  test.each<[string, string[], string[]]>([
    ['whole lines', ['a\nb\n'], ['a', 'b', '']],
    ['a line in two texts', ['a\nb', 'c\n'], ['a', 'bc', '']],
    ['a line in many texts', ['a', 'b', 'c'], ['abc']],
    ['a newline of its own', ['a', '\n', 'b'], ['a', 'b']],
    ['empty lines', ['\n\n', '\n'], ['', '', '', '']],
    ['an empty text', ['a\n', ''], ['a', '']],
    ['nothing', [''], ['']],
  ])('are the same however they come: %s', (_name, texts, lines) => {
    expect(read(...texts)).toEqual({ lines, isCut: false })
    expect(read([...texts].join('')).lines).toEqual(lines)
  })

  test('are the newest ones only, and say that there were more', () => {
    const line = (at: number) => `line ${at}\n`
    const whole = Array.from({ length: LINES_KEPT }, (_, at) => line(at)).join('')
    const full = read(whole)
    expect(full.isCut).toBe(false)
    expect(full.lines.slice(0, 1)).toEqual(['line 0'])
    const more = withText(full, line(LINES_KEPT))
    expect(more.isCut).toBe(true)
    // The one that is not begun yet comes on top.
    expect(more.lines).toHaveLength(LINES_KEPT + 1)
    expect([more.lines[0], more.lines.at(-2)]).toEqual(['line 1', `line ${LINES_KEPT}`])
    expect(withText(more, 'x')).toMatchObject({ isCut: true })
  })
})
