import { expect, test } from 'vitest'
import { LeaseReport } from '../../protocol/runner-api.ts'

const report = { session_id: 'ses_01m858wk6vfvkt9rqhbgxvxwcy', state: 'running' }

test('a notice nobody here knows is dropped, and the known ones stay', () => {
  const notices = [...Array(20).fill('warped'), 'memory_pressure', 'adopted']
  expect(LeaseReport.parse({ ...report, notices }).notices?.toSorted()).toEqual([
    'adopted',
    'memory_pressure',
  ])
})

test('a report cut in the middle of a surrogate pair is still well-formed', () => {
  const message = `${'x'.repeat(999)}😀`
  const { exit } = LeaseReport.parse({
    ...report,
    state: 'exited',
    exit: { code: 1, reason: 'exited', message },
  })
  expect(exit?.message?.isWellFormed()).toBe(true)
  expect(exit?.message).toHaveLength(1000)
})
