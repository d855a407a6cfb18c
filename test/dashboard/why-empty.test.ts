import { describe, expect, test } from 'vitest'
import { notYet, whyEmpty } from '../../dashboard/pages/runs/why-empty.ts'

const ENDED = '2026-10-01T12:00:00.000Z'
const DAY_MS = 86_400_000
const after = (days: number) => Date.parse(ENDED) + days * DAY_MS

describe('an empty log', () => {
  test.each([
    [null, 'The run has not started.'],
    [ENDED, 'Nothing was written yet.'],
  ])('of a run that goes on, started at %s: %s', (started_at, said) => {
    expect(notYet({ started_at })).toBe(said)
  })

  test.each<[string | null, number, RegExp]>([
    [null, 1, /^The run was never started/],
    [null, 40, /^The run was never started/],
    [ENDED, 0, /^The run wrote nothing\.$/],
    [ENDED, 29.9, /^The run wrote nothing\.$/],
    [ENDED, 30, /^Logs are kept for 30 days\..*until .*(31.*2026|2026.*31).* and is gone\.$/],
  ])('of a run that is over, started at %s, after %d days: %s', (started_at, days, said) => {
    expect(whyEmpty({ started_at, finished_at: ENDED }, 30, after(days))).toMatch(said)
  })
})
