import type { Log } from '../log.ts'

/** Terminals and process managers may deliver one wish to stop twice; this tells a second wish from an echo. */
const SECOND_SIGNAL_AFTER_MS = 1_000

export interface StopSignals {
  /** The first signal: leave, with the sessions running. */
  readonly leave: AbortSignal
  /** The second: stop the sessions too. */
  readonly halt: AbortSignal
}

/** A terminal that closes says SIGHUP. */
const STOPPING = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

/** For the rest of the process's life: a signal on its last steps must not be what it ends by. */
export function listenForStop(log: Log): StopSignals {
  const leave = new AbortController()
  const halt = new AbortController()
  let firstAt = 0
  const onSignal = (name: NodeJS.Signals) => {
    if (!leave.signal.aborted) {
      firstAt = performance.now()
      log.info(
        { signal: name },
        'leaving: sessions stay running for the next daemon; signal again to stop them',
      )
      leave.abort()
    } else if (!halt.signal.aborted && performance.now() - firstAt >= SECOND_SIGNAL_AFTER_MS) {
      log.warn({ signal: name }, 'second signal: stopping the sessions')
      halt.abort()
    }
  }
  for (const name of STOPPING) process.on(name, onSignal)
  return { leave: leave.signal, halt: halt.signal }
}
