import { Option } from '@commander-js/extra-typings'
import { Placement, Run } from '../../protocol/run.ts'
import type { ControlPlane } from '../api/control-plane.ts'
import { systemClock } from '../clock.ts'
import { EXIT, exitOfRun } from '../exit-codes.ts'
import { CommandFailure, linesOf } from '../failure.ts'
import { seconds } from '../input/values.ts'
import type { Interrupts } from '../interrupts.ts'
import type { Output } from '../output/output.ts'
import { showLogAsItGrows } from '../runs/show-log.ts'
import { endText, statusText, waitText } from '../runs/status-text.ts'
import { waitForRun } from '../runs/wait.ts'
import type { Session } from '../session.ts'

/** What `runs wait` and `runs start` have in common once there is a run. */
export const FOLLOW = new Option('-f, --follow', 'show the log while it grows')
export const CANCEL_ON_INTERRUPT = new Option(
  '--cancel-on-interrupt',
  'Ctrl-C cancels the run and waits for its end; a second one leaves at once',
)
export const WAIT_TIMEOUT = new Option(
  '--wait-timeout <duration>',
  'leave with 8 when it takes longer; the run goes on',
).argParser(seconds)

export interface WaitOptions {
  readonly follow?: true | undefined
  readonly cancelOnInterrupt?: true | undefined
  readonly waitTimeout?: number | undefined
}

/** A log comes a moment after the end of what wrote it. */
const LOG_END_MS = 60_000
/** Why a run waits is looked up this often. */
const PLACEMENT_MS = 10_000

/** Shows the run until its end. @returns the exit code that stands for what became of it */
export async function showUntilEnd(
  { api, out }: Session,
  runId: string,
  options: WaitOptions,
  interrupts: Interrupts,
): Promise<number> {
  const stopLog = new AbortController()
  const log = options.follow
    ? showLogAsItGrows(api, out, { runId, timestamps: false }, stopLog.signal)
    : Promise.resolve()
  log.catch(() => undefined)
  try {
    const watcher = new Watcher(api, out, options.follow === true)
    const end = await waitForRun({
      look: signal => api.get(`/runs/${runId}`, Run, { signal }),
      cancel: signal => api.call('POST', `/runs/${runId}/cancel`, Run, { repeat: 'safe', signal }),
      interrupts,
      cancelOnInterrupt: options.cancelOnInterrupt === true,
      limitMs: options.waitTimeout === undefined ? null : options.waitTimeout * 1000,
      onLook: run => watcher.saw(run),
      onAway: failure => out.status(`still waiting; ${linesOf(failure)[0]}`),
      onCancelled: () => out.note(`cancelling ${runId}; Ctrl-C again leaves without waiting for its end`),
      clock: systemClock,
    })
    out.status('')
    switch (end.how) {
      case 'ended':
        await restOf(log, out, runId, interrupts)
        if (!options.follow) out.show(end.run, () => [endText(end.run)])
        else if (out.isJson) out.item({ type: 'run', run: end.run }, () => '')
        else out.note(endText(end.run))
        return exitOfRun(end.run)
      case 'left':
        out.note(
          end.isCancelling
            ? `left; ${runId} is being cancelled`
            : `left; ${runId} goes on: \`certyn runs wait ${runId}\` waits again, \`certyn runs cancel ${runId}\` ends it`,
        )
        return interrupts.exitCode
      case 'gave_up':
        out.note(`not ended yet; ${runId} goes on: \`certyn runs wait ${runId}\` waits again`)
        return EXIT.gave_up_waiting
    }
  } finally {
    out.status('')
    stopLog.abort()
  }
}

/** Says what changes: on a terminal in one line, elsewhere a line a change. */
class Watcher {
  readonly #api: ControlPlane
  readonly #out: Output
  readonly #isFollowed: boolean
  #said = ''
  #placement: Placement | null = null
  #placementAt = 0

  constructor(api: ControlPlane, out: Output, isFollowed: boolean) {
    this.#api = api
    this.#out = out
    this.#isFollowed = isFollowed
  }

  async saw(run: Run): Promise<void> {
    await this.#explain(run)
    const now = Date.now()
    // A log on a terminal and a line that changes below it would take each other's place.
    if (this.#out.isLive && !this.#isFollowed) {
      this.#out.status(`${run.id} ${statusText(run, this.#placement, now)}`)
      return
    }
    const why = run.status === 'queued' && this.#placement !== null ? `, ${waitText(this.#placement)}` : ''
    const attempt = run.attempt > 1 ? `, attempt ${run.attempt}` : ''
    const text = `${run.id} ${run.status}${attempt}${why}`
    if (text !== this.#said) this.#out.note(text)
    this.#said = text
  }

  async #explain(run: Run): Promise<void> {
    const now = Date.now()
    if (run.status !== 'queued' || this.#out.isJson || now - this.#placementAt < PLACEMENT_MS) return
    this.#placementAt = now
    // Nobody waits any less for not knowing why.
    this.#placement = await this.#api.get(`/runs/${run.id}/placement`, Placement).catch(() => null)
  }
}

/** What became of the run is known by now, and a log that does not come changes nothing about it. */
async function restOf(log: Promise<void>, out: Output, runId: string, interrupts: Interrupts): Promise<void> {
  const missing = (why: string) => out.note(`${why}: \`certyn runs logs ${runId}\``)
  const over = new AbortController()
  const leaving = interrupts.first.aborted ? interrupts.second : interrupts.first
  const late = systemClock.sleep(LOG_END_MS, [over.signal, leaving]).then(() => {
    if (!over.signal.aborted) missing('the rest of the log is not there yet')
  })
  const shown = log.catch(error => {
    if (!(error instanceof CommandFailure)) throw error
    if (!over.signal.aborted) missing(`the log was lost (${linesOf(error.failure)[0]})`)
  })
  await Promise.race([shown, late])
  over.abort()
}
