import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { EXIT, EXIT_SIGNALLED } from '../../cli/exit-codes.ts'
import { createProgram } from '../../cli/program.ts'
import { SETTING_NAMES } from '../../cli/settings.ts'
import { cliReference, leavesOf, nameOf } from '../../scripts/docs/cli-reference.ts'
import { withGenerated } from '../../scripts/docs/generated.ts'

const DOCUMENT = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8')

let shown = ''
const program = createProgram({
  connect: () => {
    throw new Error('a test of documents asks nobody')
  },
  print: text => {
    shown += text
  },
})
const leaves = leavesOf(program)

/** As a shell takes a line that holds no more than words and single quotes. */
function wordsOf(line: string): string[] {
  const words = (line.split(' > ')[0] ?? '').match(/(?:[^\s']|'[^']*')+/g) ?? []
  return words.map(word => word.replaceAll("'", ''))
}

describe('docs/cli.md', () => {
  test('has every command as its help has it; `npm run docs` brings it up to date', () => {
    expect(DOCUMENT).toBe(withGenerated(DOCUMENT, cliReference()))
    const headings = [...DOCUMENT.matchAll(/^### (certyn .+)$/gm)].map(match => match[1])
    expect(headings).toEqual(leaves.map(nameOf))
    expect(headings.length).toBeGreaterThan(40)
  })

  test('has every exit code and every setting', () => {
    const codes = [...DOCUMENT.matchAll(/^\| ([\d, ]+?) +\|/gm)].flatMap(([, cell = '']) =>
      cell.split(', ').map(Number),
    )
    expect(codes.sort((a, b) => a - b)).toEqual(
      [...Object.values(EXIT), ...Object.values(EXIT_SIGNALLED)].sort((a, b) => a - b),
    )
    expect(SETTING_NAMES.filter(name => !DOCUMENT.includes(`\`${name}\``))).toEqual([])
  })
})

describe('help', () => {
  test.each(leaves.map(command => [nameOf(command), command] as const))(
    '%s has examples that it takes',
    (name, command) => {
      shown = ''
      command.outputHelp()
      const examples = [...shown.matchAll(/^ {2}\$ (.+)$/gm)].map(match => match[1] ?? '')
      expect(examples.length).toBeGreaterThan(0)
      for (const example of examples) {
        expect(`${example} `).toContain(`${name} `)
        // The options that all commands have are the program's.
        const words = program.parseOptions(wordsOf(example).slice(name.split(' ').length))
        const { operands, unknown } = command.parseOptions([...words.operands, ...words.unknown])
        const required = command.registeredArguments.filter(argument => argument.required).length
        const isTooMany = operands.length > command.registeredArguments.length
        const isOpen = command.registeredArguments.some(argument => argument.variadic)
        expect({
          example,
          unknown: unknown.filter(word => word.startsWith('--') && word.length > 2),
        }).toEqual({ example, unknown: [] })
        expect(operands.length).toBeGreaterThanOrEqual(required)
        expect(isTooMany && !isOpen).toBe(false)
      }
    },
  )
})
