import { type Clock, sleep, stopwatch } from '../clock.ts'
import type { SessionLedger } from './ledger.ts'
import type { SessionLoop } from './session-loop.ts'
import type { StopSignals } from './shutdown.ts'
import type { SyncLoop } from './sync-loop.ts'

/** A leaving runner with sessions stays so long, that a second signal can still say to stop them. */
const SECOND_SIGNAL_WINDOW_MS = 3_000
/** The process ends within 10 s of the signal: this for saying so, the next for finishing what is in flight. */
const LEAVING_SYNC_LIMIT_MS = 5_000
const SETTLE_LIMIT_MS = 3_000
/** After a halt: the SIGKILL that follows the grace needs a moment, and the exits are reported. */
const HALT_MARGIN_MS = 15_000
const POLL_MS = 50

interface LeavingParts {
  readonly ledger: SessionLedger
  readonly sessions: SessionLoop
  readonly sync: Pick<SyncLoop, 'ring' | 'hasSaidLeaving'>
  readonly signals: StopSignals
  readonly stopGraceMs: number
  readonly clock: Clock
  /** False once the control plane has refused this process for good: then there is nobody to tell. */
  readonly isHeard: () => boolean
}

/** Waits for the signal, then until the process may end: said so, nothing half written, and nobody asked for more. */
export async function leavingLoop(parts: LeavingParts, signal: AbortSignal): Promise<void> {
  const { ledger, sessions, sync, signals, isHeard } = parts
  await aborted(AbortSignal.any([signal, signals.leave]))
  if (signal.aborted) return
  const passed = stopwatch()
  ledger.leave()
  sync.ring()
  sessions.wake()
  await until(() => {
    if (signal.aborted || signals.halt.aborted) return true
    const said = !isHeard() || sync.hasSaidLeaving() || passed() > LEAVING_SYNC_LIMIT_MS
    const listened = ledger.liveCount() === 0 || passed() > SECOND_SIGNAL_WINDOW_MS
    return said && listened
  })
  await settle(parts, AbortSignal.any([signal, signals.halt]))
  if (!signals.halt.aborted) return
  await halt(parts, signal)
  await settle(parts, signal)
}

/** Lets what is in flight come to its end. */
async function settle({ sessions }: LeavingParts, signal: AbortSignal): Promise<void> {
  const settling = stopwatch()
  await until(() => signal.aborted || !sessions.isBusy() || settling() > SETTLE_LIMIT_MS)
}

/** Ends the sessions, and waits a little for the control plane to hear of it. */
async function halt(
  { ledger, sessions, clock, stopGraceMs, isHeard }: LeavingParts,
  signal: AbortSignal,
): Promise<void> {
  ledger.halt('the operator stopped the runner', clock.now())
  sessions.wake()
  const stopping = stopwatch()
  await until(() => signal.aborted || ledger.liveCount() === 0 || stopping() > stopGraceMs + HALT_MARGIN_MS)
  const reporting = stopwatch()
  await until(() => signal.aborted || !isHeard() || ledger.isEmpty() || reporting() > LEAVING_SYNC_LIMIT_MS)
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  await new Promise<void>(resolve => signal.addEventListener('abort', () => resolve(), { once: true }))
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(POLL_MS)
}
