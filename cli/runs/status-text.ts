import type { Placement, Run } from '../../protocol/run.ts'
import { printable } from '../output/table.ts'
import { duration } from '../output/words.ts'

const RUNNERS_NAMED = 3

/** The line that changes while somebody waits. @param placement of a run that is queued, where it is known */
export function statusText(run: Run, placement: Placement | null, now: number): string {
  const since = run.status === 'queued' ? run.queued_at : (run.started_at ?? run.queued_at)
  const where = run.runner_id === null ? '' : ` on ${run.runner_id}`
  const attempt = run.attempt > 1 ? `, attempt ${run.attempt}` : ''
  const why = run.status === 'queued' && placement !== null ? `, ${waitText(placement)}` : ''
  return `${run.status}${where}${attempt} for ${duration((now - Date.parse(since)) / 1000)}${why}`
}

export function waitText({ waiting_for, candidates }: Placement): string {
  if (waiting_for === null) return 'about to be offered'
  if (candidates.length === 0) return 'waits for a runner: the pool has none'
  const named = candidates
    .slice(0, RUNNERS_NAMED)
    .map(({ name, reasons }) => `${printable(name)}: ${reasons.map(printable).join(', ')}`)
  const more = candidates.length > RUNNERS_NAMED ? ` and ${candidates.length - RUNNERS_NAMED} more` : ''
  return `waits for a ${waiting_for} (${named.join('; ')}${more})`
}

/** What is said once a run has ended. */
export function endText(run: Run): string {
  const { status, failure, exit_code, started_at, finished_at } = run
  const took =
    started_at === null || finished_at === null
      ? ''
      : ` after ${duration((Date.parse(finished_at) - Date.parse(started_at)) / 1000)}`
  const code = exit_code === null ? '' : `, exit code ${exit_code}`
  const why = failure === null ? '' : `, ${failure.code}: ${printable(failure.message)}`
  return `${run.id} ${status}${took}${code}${why}`
}
