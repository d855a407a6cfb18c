import stringWidth from 'string-width'
import { describe, expect, test } from 'vitest'
import { cut, fields, printable, table } from '../../cli/output/table.ts'
import { ago, commandLine, duration, size } from '../../cli/output/words.ts'

const ROWS = [
  { id: 'pol_1', name: 'west', note: 'a long note that says a great deal' },
  { id: 'pol_2', name: '日本語のプール', note: '' },
]
const COLUMNS = [
  { title: 'ID', of: (row: (typeof ROWS)[number]) => row.id, isWhole: true },
  { title: 'NAME', of: (row: (typeof ROWS)[number]) => row.name },
  { title: 'NOTE', of: (row: (typeof ROWS)[number]) => row.note },
]

describe('tables', () => {
  test('without a width nothing is cut', () => {
    expect(table(COLUMNS, ROWS, null)).toEqual([
      'ID     NAME            NOTE',
      'pol_1  west            a long note that says a great deal',
      'pol_2  日本語のプール',
    ])
  })

  test.each([10, 15, 20, 25, 30, 40, 60, 200])('no line is wider than %i cells', width => {
    const lines = table(COLUMNS, ROWS, width)
    expect(lines.every(line => stringWidth(line) <= width)).toBe(true)
    expect(lines[1]).toMatch(/^pol_1/)
  })

  test('the widest is cut first, and what must be copied whole never', () => {
    expect(table(COLUMNS, ROWS, 40)[1]).toBe('pol_1  west            a long note that…')
    expect(table(COLUMNS, ROWS, 3)).toEqual(['ID', 'po…', 'po…'])
  })

  test('colours neither count nor are cut', () => {
    const paint = (cell: string) => `<${cell}>`
    const columns = [
      { title: 'ID', of: () => 'ab', paint },
      { title: 'X', of: () => 'y' },
    ]
    expect(table(columns, [{}], 80)).toEqual(['ID  X', '<ab>  y'])
  })

  test('a cut falls between characters as people see them', () => {
    expect(cut('e\u0301e\u0301e\u0301', 2)).toBe('e\u0301…')
    expect(cut('👩‍👩‍👧👩‍👩‍👧', 3)).toBe('👩‍👩‍👧…')
    expect(cut('abc', 3)).toBe('abc')
  })

  test('fields fit, too', () => {
    expect(
      fields(
        [
          ['id', 'pol_1'],
          ['description', 'x'.repeat(40)],
        ],
        24,
      ),
    ).toEqual(['id           pol_1', 'description  xxxxxxxxxx…'])
  })

  test('what comes from elsewhere starts no line and moves no cursor', () => {
    expect(printable('a\nb\x1b[2Jc\u009bd\u2028e')).toBe('a·b·[2Jc·d·e')
  })
})

describe('words', () => {
  test.each([
    [0, '0s'],
    [59.9, '59s'],
    [60, '1m'],
    [250, '4m 10s'],
    [7200, '2h'],
    [7265, '2h 1m'],
    [183_600, '2d 3h'],
    [-5, '0s'],
  ])('%d seconds are %s', (seconds, text) => {
    expect(duration(seconds)).toBe(text)
  })

  test('times are told from now, both ways', () => {
    const now = Date.parse('2026-01-01T00:01:00.000Z')
    expect(ago('2026-01-01T00:00:00.000Z', now)).toBe('1m ago')
    expect(ago('2026-01-01T00:02:30.000Z', now)).toBe('in 1m 30s')
    expect(ago(null, now)).toBe('never')
  })

  test('sizes and command lines', () => {
    expect([0, 1023, 1024, 1_572_864, 5 * 2 ** 40].map(size)).toEqual([
      '0 B',
      '1023 B',
      '1.0 KiB',
      '1.5 MiB',
      '5120.0 GiB',
    ])
    expect(commandLine(['npx', 'test', "it's", ''])).toBe(`npx test 'it'\\''s' ''`)
  })
})
