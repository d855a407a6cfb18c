import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { choose } from '../../cli/api/find.ts'
import { interpret } from '../../cli/api/interpret.ts'
import { boundOf, pages } from '../../cli/api/pages.ts'
import { isPassing, pauseBeforeRetry } from '../../cli/api/retry.ts'
import { EXIT, exitOfFailure, exitOfRun } from '../../cli/exit-codes.ts'
import { CommandFailure, documentOf, type Failure, linesOf } from '../../cli/failure.ts'
import { ERROR_CODES } from '../../protocol/errors.ts'
import { FAILURES, type FailureCode, TERMINAL_STATUSES } from '../../protocol/run.ts'
import { refused, runThat, unreachable } from './support.ts'

const UNREACHABLE = unreachable().failure
const always = () => 1

describe('whether a call is made again', () => {
  const once = { attempt: 1, repeat: 'once' } as const
  const safe = { attempt: 1, repeat: 'safe' } as const

  test('a safe one a few times, with a growing pause and an end', () => {
    const pauses = [1, 2, 3, 4].map(attempt => pauseBeforeRetry(UNREACHABLE, { ...safe, attempt }, always))
    expect(pauses).toEqual([500, 1000, 2000, null])
    expect(pauseBeforeRetry(UNREACHABLE, safe, () => 0)).toBe(0)
  })

  test('one that would do its work twice only when it was turned away at the door', () => {
    expect(pauseBeforeRetry(UNREACHABLE, once, always)).toBeNull()
    expect(pauseBeforeRetry(refused('overloaded'), once, always)).toBeNull()
    expect(pauseBeforeRetry(refused('rate_limited'), once, always)).toBe(500)
  })

  test('never sooner than the server asks, nor as late as it likes', () => {
    expect(pauseBeforeRetry(refused('overloaded', 7_000), safe, always)).toBe(7_000)
    expect(pauseBeforeRetry(refused('overloaded', 3_600_000), safe, always)).toBe(30_000)
  })

  test('a refusal that stays one is not asked for again', () => {
    const passing = ERROR_CODES.filter(code => isPassing(refused(code)))
    expect(passing).toEqual(['rate_limited', 'overloaded'])
    const odd = (status: number): Failure => ({ kind: 'unexpected', call: '', status, detail: '' })
    expect([200, 302, 404, 500, 502, 503, 504].filter(status => isPassing(odd(status)))).toEqual([
      502, 503, 504,
    ])
  })
})

describe('an answer', () => {
  const Schema = z.object({ id: z.string() })
  const answer = { call: 'GET /x', status: 200, headers: {}, text: '{"id": "a", "new": 1}' }

  test('is parsed; what this release does not know is left out', () => {
    expect(interpret(answer, Schema)).toEqual({ id: 'a' })
    expect(interpret({ ...answer, status: 204, text: '' }, z.undefined())).toBeUndefined()
  })

  test('that is a problem keeps its code, its fields and how long to wait', () => {
    const problem = {
      ...refused('invalid_request').problem,
      errors: [{ path: 'name', message: 'must not be empty' }],
    }
    const text = JSON.stringify(problem)
    const failure = failureOf(() =>
      interpret({ ...answer, status: 400, text, headers: { 'retry-after': '3' } }, Schema),
    )
    expect(failure).toEqual({ kind: 'refused', call: 'GET /x', problem, retryAfterMs: 3000 })
    expect(linesOf(failure)).toEqual([
      'refused: GET /x: invalid_request: no',
      '  name: must not be empty',
      '  request req_1',
    ])
    expect(documentOf(failure, 3)).toEqual({
      error: {
        kind: 'refused',
        exit_code: 3,
        status: 400,
        code: 'invalid_request',
        detail: 'no',
        errors: problem.errors,
        request_id: 'req_1',
      },
    })
  })

  test.each([
    [200, '<html>', 'answered 200: the body is not valid JSON'],
    [200, '{"id": 7}', 'answered 200: id is not as expected'],
    [500, '{"code": "boom"}', 'answered 500: something that is not this API’s'],
    [400, 'The plain HTTP request was sent to HTTPS port', 'answered 400: this port speaks TLS only'],
    [301, '', 'answered 301: a redirect, which is never followed'],
    [204, '', 'answered 204: the body is not as expected'],
  ])('%i %j is no answer of this API', (status, text, detail) => {
    const failure = failureOf(() => interpret({ ...answer, status, text }, Schema))
    expect(failure).toMatchObject({ kind: 'unexpected', status, detail: expect.stringContaining(detail) })
  })
})

function failureOf(call: () => unknown): Failure {
  try {
    call()
  } catch (error) {
    if (error instanceof CommandFailure) return error.failure
    throw error
  }
  throw new Error('it did not fail')
}

describe('a list', () => {
  const all = Array.from({ length: 450 }, (_, at) => at)
  const asked: number[] = []
  const fetchPage = async ({ limit, cursor }: { limit: number; cursor: string | undefined }) => {
    asked.push(limit)
    const from = Number(cursor ?? 0)
    const end = from + limit
    return { items: all.slice(from, end), next_cursor: end < all.length ? String(end) : null }
  }

  test.each([
    { given: {}, count: 50, pages: [50], next: '50' },
    { given: { limit: 3 }, count: 3, pages: [3], next: '3' },
    { given: { limit: 250 }, count: 250, pages: [200, 50], next: '250' },
    { given: { limit: 449, cursor: '1' }, count: 449, pages: [200, 200, 49], next: null },
    { given: { all: true }, count: 450, pages: [200, 200, 200], next: null },
  ])('$given gives $count items', async ({ given, count, pages: sizes, next }) => {
    asked.length = 0
    const page = await pages(fetchPage, boundOf(given))
    expect([page.items.length, asked, page.next_cursor]).toEqual([count, sizes, next])
  })

  test('that leads back to itself is not walked for ever', async () => {
    const round = async () => ({ items: [1], next_cursor: 'again' })
    await expect(pages(round, boundOf({ all: true }))).rejects.toThrow('read before')
  })
})

test('a name stands for an id only where one has it', () => {
  const items = [
    { id: 'pol_1', name: 'west' },
    { id: 'pol_2', name: 'east' },
    { id: 'pol_3', name: 'east' },
  ]
  expect(choose('pool', 'west', items)).toBe('pol_1')
  expect(() => choose('pool', 'east', items)).toThrow('2 pools are named "east", so give an id: pol_2, pol_3')
  expect(() => choose('pool', 'West', items)).toThrow('no pool has the id or the name "West"')
})

describe('exit codes', () => {
  test('tell every end of a run from every other kind of trouble', () => {
    const ends = TERMINAL_STATUSES.map(status => exitOfRun(runThat({ status })))
    expect(ends).toEqual([EXIT.done, EXIT.failed, EXIT.timed_out, EXIT.cancelled, EXIT.not_carried_out])
    const kinds = ['usage', 'unknown_name', 'unreachable'] as const
    expect(kinds.map(kind => exitOfFailure({ kind, call: '', detail: '' }))).toEqual([2, 3, 4])
    expect(exitOfFailure(refused('forbidden'))).toBe(3)
  })

  test('put a run’s failure where it belongs', () => {
    const own = Object.entries(FAILURES).flatMap(([code, { domain }]) => {
      const failure = { code: code as FailureCode, domain, message: '' }
      return exitOfRun(runThat({ status: 'failed', failure })) === EXIT.failed ? [code] : []
    })
    expect(own).toEqual(['non_zero_exit', 'command_not_found', 'oom', 'timeout'])
  })

  test('are given for ended runs only', () => {
    expect(() => exitOfRun(runThat())).toThrow('has not ended')
  })
})
