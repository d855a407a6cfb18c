import { describe, expect, test } from 'vitest'
import { candidates } from '../../cli/completion/candidates.ts'
import { createProgram } from '../../cli/program.ts'

const program = createProgram({
  connect: () => {
    throw new Error('completion asks nobody')
  },
  print: () => undefined,
})

function words(...typed: readonly string[]): readonly string[] | 'files' {
  const found = candidates(program, typed)
  return found === 'files' ? found : found.map(({ word }) => word)
}

describe('completion', () => {
  test('of commands, at every depth', () => {
    expect(words('run')).toEqual(['runs', 'runners'])
    expect(words('runs', 'c')).toEqual(['cancel'])
    expect(words('runs', 'artifacts', '')).toEqual(['list', 'download', 'help'])
    expect(words('--json', 'tokens', 'r')).toEqual(['revoke'])
  })

  test('of a command’s options and those of all, those that were given left out', () => {
    expect(words('pools', 'list', '--')).toEqual([
      ...['--limit', '--all', '--cursor'],
      ...['--url', '--api-key-file', '--json', '--help'],
    ])
    expect(words('pools', 'list', '--all', '--a')).toEqual(['--api-key-file'])
    expect(words('runs', 'start', 'x', '-e', 'A=1', '--env')).toEqual(['--env', '--env-file'])
  })

  test('of values that are one of a few, and of files', () => {
    expect(words('keys', 'create', 'x', '--role', '')).toEqual(['viewer', 'member', 'admin'])
    expect(words('keys', 'create', 'x', '--role', 'm')).toEqual(['member'])
    expect(words('completion', 'z')).toEqual(['zsh'])
    expect(words('runs', 'start', 'x', '--env-file', '')).toBe('files')
    expect(words('runs', 'artifacts', 'download', 'x', '-o', '')).toBe('files')
    expect(words('pools', 'list', '--limit', '')).toEqual([])
  })

  test('leaves a run’s own command alone', () => {
    expect(words('runs', 'start', 'x', '--', 'ls', '--')).toBe('files')
  })
})
