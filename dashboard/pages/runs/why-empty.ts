import type { Run } from '../../../protocol/run.ts'

/** Why there is nothing of a log to show. */

const DAY_MS = 86_400_000

export const WROTE_NOTHING = 'The run wrote nothing.'

type Times = Pick<Run, 'started_at' | 'finished_at'>

export function notYet({ started_at }: Pick<Run, 'started_at'>): string {
  return started_at === null ? 'The run has not started.' : 'Nothing was written yet.'
}

/** Of a run that is over. @param keptDays after its end @param now in epoch milliseconds */
export function whyEmpty({ started_at, finished_at }: Times, keptDays: number, now: number): string {
  if (started_at === null) return 'The run was never started, so it wrote nothing.'
  const goneAt = finished_at === null ? Number.POSITIVE_INFINITY : Date.parse(finished_at) + keptDays * DAY_MS
  return now < goneAt
    ? WROTE_NOTHING
    : `Logs are kept for ${keptDays} days. If the run wrote any, it was kept until ${new Date(goneAt).toLocaleDateString()} and is gone.`
}
