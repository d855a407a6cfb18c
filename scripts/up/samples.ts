import { setTimeout as sleep } from 'node:timers/promises'
import { CreatedLiveLink } from '../../protocol/live.ts'
import { isTerminal, Placement, Run } from '../../protocol/run.ts'
import type { Demo } from './demo.ts'
import { SAMPLE_KEY, type SampleKind, secondsLeft } from './former-samples.ts'
import type { Sample } from './sample.ts'

const POLL_MS = 250
const SAMPLE_LIMIT_MS = 180_000
/** After this long in the queue, say what the run is waiting for. */
const EXPLAIN_AFTER_MS = 15_000
/** Enough to see that the page moves; the one to be watched stays for as long as somebody may want to look. */
const SECONDS: Readonly<Record<SampleKind, number>> = { short: 3, watched: 1800 }
/** For its start and its end. */
const MARGIN_SECONDS = 60

async function startSample({ api, environmentId }: Demo, sample: Sample, kind: SampleKind): Promise<Run> {
  const body = {
    image: sample.image,
    ...sample.run(SECONDS[kind]),
    timeout_seconds: SECONDS[kind] + MARGIN_SECONDS,
    queue_timeout_seconds: 600,
    stream: sample.live,
    metadata: { [SAMPLE_KEY]: kind },
  }
  return api.post(`/environments/${environmentId}/runs`, body, Run)
}

/**
 * Runs the sample to its end.
 *
 * @param runnerLog where to look when it waits for long
 * @throws when it does not succeed
 */
export async function runSample(demo: Demo, sample: Sample, runnerLog: string): Promise<void> {
  let run = await startSample(demo, sample, 'short')
  console.log(`Sample run ${run.id}`)
  const started = Date.now()
  let said = ''
  let explained = false
  while (!isTerminal(run.status)) {
    if (run.status !== said) console.log(`  ${run.status}`)
    said = run.status
    const waited = Date.now() - started
    if (waited > SAMPLE_LIMIT_MS)
      throw new Error(`the sample run is still ${run.status} after ${waited / 1000} s`)
    if (run.status === 'queued' && waited > EXPLAIN_AFTER_MS && !explained) {
      explained = true
      const { waiting_for } = await demo.api.get(`/runs/${run.id}/placement`, Placement)
      console.log(`  waiting for ${waiting_for ?? 'nothing'}; the runner's log is ${runnerLog}`)
    }
    await sleep(POLL_MS)
    run = await demo.api.get(`/runs/${run.id}`, Run)
  }
  console.log(`  ${run.status}${run.exit_code === null ? '' : `, exit code ${run.exit_code}`}`)
  if (run.status !== 'succeeded') throw new Error(`the sample run ${run.status}: ${reasonOf(run)}`)
}

/** One more, which stays. */
export async function startWatchedRun(demo: Demo, sample: Sample): Promise<Run> {
  let run = await startSample(demo, sample, 'watched')
  while (run.status !== 'running') {
    if (isTerminal(run.status)) throw new Error(`the run to watch ${run.status}: ${reasonOf(run)}`)
    await sleep(POLL_MS)
    run = await demo.api.get(`/runs/${run.id}`, Run)
  }
  return run
}

/** Says the link with which anybody may watch and drive it. */
export async function showWatched({ api }: Demo, run: Run): Promise<void> {
  const seconds = secondsLeft(run, Date.now()) - MARGIN_SECONDS
  const link = { mode: 'control', expires_in_seconds: seconds, max_viewers: 10 }
  const { url } = await api.post(`/runs/${run.id}/live-links`, link, CreatedLiveLink)
  console.log(
    `Watch a run live, and drive its page, for the next ${Math.ceil(seconds / 60)} minutes:\n  ${url}\n`,
  )
}

function reasonOf({ failure }: Run): string {
  return failure === null ? 'no reason' : `${failure.code}: ${failure.message}`
}
