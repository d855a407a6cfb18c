import { describe, expect, test } from 'vitest'
import { bodyOf, draftOf, pairsOf } from '../../dashboard/pages/runs/run-draft.ts'
import type { Run } from '../../protocol/run.ts'

const EMPTY = draftOf(null)

describe('the form that starts a run', () => {
  test('leaves to the API what nobody typed', () => {
    expect(bodyOf(EMPTY)).toEqual({ env: {}, labels: {}, priority: 0, timeout_seconds: 3600, resources: {} })
  })

  test.each<[string, string, string[] | undefined]>([
    ['one argument a line', 'npx\nplaywright\ntest', ['npx', 'playwright', 'test']],
    ['a last newline', 'node\n', ['node']],
    ['spaces inside an argument', 'node\n-e\nconsole.log( 1 )', ['node', '-e', 'console.log( 1 )']],
    ['an empty argument in between', 'run\n\nlast', ['run', '', 'last']],
    ['an argument of two lines', 'node\n-e\n"a\\nb"', ['node', '-e', 'a\nb']],
    ['what only looks like a string', '"a\n"b" c', ['"a', '"b" c']],
    ['nothing', '', undefined],
  ])('reads a command with %s', (_name, command, read) => {
    expect((bodyOf({ ...EMPTY, command }) as { command?: string[] }).command).toEqual(read)
  })

  test.each<[string, string, Record<string, string>]>([
    ['pairs', 'A=1\nB=2', { A: '1', B: '2' }],
    ['a value with =', 'TOKEN=a=b==', { TOKEN: 'a=b==' }],
    ['spaces, which belong to the value', ' A = 1 ', { A: ' 1 ' }],
    ['a name alone', 'A', { A: '' }],
    ['empty lines', '\n\nA=1\n \n', { A: '1' }],
  ])('reads %s', (_name, text, pairs) => {
    expect(pairsOf(text)).toEqual(pairs)
  })

  test('reads numbers, and passes on what is none for the API to refuse', () => {
    const draft = { ...EMPTY, priority: '5', timeoutSeconds: '60', memoryMb: '512', cpus: '0.5' }
    expect(bodyOf(draft)).toMatchObject({
      priority: 5,
      timeout_seconds: 60,
      resources: { memory_mb: 512, cpus: 0.5 },
    })
    expect(bodyOf({ ...EMPTY, cpus: 'many' })).toMatchObject({ resources: { cpus: Number.NaN } })
  })

  test('holds every argument of a command as it was', () => {
    const command = ['', '-e', 'a\nb', '"quoted"', '"', ' spaces ', '{"json": 1}', '\\n', '\r\n', '']
    const draft = draftOf({ command, labels: {}, resources: {} } as Partial<Run> as Run)
    expect(bodyOf(draft)).toMatchObject({ command })
  })

  test('holds what a run was started with, but for the variables, which nobody is told again', () => {
    const run = {
      environment_id: 'env_1',
      image: 'docker.io/certyn/agent:v0.1.0',
      command: ['node', '-e', 'a b'],
      labels: { zone: 'east', gpu: '' },
      priority: -3,
      timeout_seconds: 90,
      resources: { memory_mb: 1024 },
    } as Partial<Run> as Run
    const draft = draftOf(run)
    expect(draft.env).toBe('')
    const { environment_id, ...asked } = run
    expect(draft.environmentId).toBe(environment_id)
    expect(bodyOf(draft)).toEqual({ ...asked, env: {} })
  })
})
