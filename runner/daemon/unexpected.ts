import { closeLog, type Log, type LogOutput, reasonOf } from '../log.ts'
import { errorCode } from '../state/files.ts'

/**
 * What no handler was there for.
 *
 * An error of a connection has broken that connection and nothing else: whatever passes on one has its limits and is
 * said again, so the daemon goes on. A peer, a job before all, must not be able to end it by hanging up. Anything else
 * has left a function half-way: what is remembered may be wrong, deadlines among it, and is given up at once. On disk
 * and in the Engine nothing is lost; the next daemon finds the sessions running and goes on with them.
 */
const CONNECTION_ERRORS: ReadonlySet<string> = new Set([
  'ECONNABORTED',
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTCONN',
  'EPIPE',
  'ETIMEDOUT',
])

export function breaksConnectionOnly(error: unknown): boolean {
  return CONNECTION_ERRORS.has(errorCode(error))
}

/** For the rest of the process's life: rejections that nobody waits for come here as well. */
export function listenForUnexpected(log: Pick<Log, 'error' | 'fatal'>, output: LogOutput): void {
  process.on('uncaughtException', (error: unknown) => {
    const line = { error: reasonOf(error), stack: error instanceof Error ? error.stack : undefined }
    if (breaksConnectionOnly(error)) {
      log.error(
        line,
        'a connection broke where nothing expected it; the runner goes on. Please report this line',
      )
      return
    }
    log.fatal(
      line,
      'the runner does not know how to go on and ends, with its sessions running; start it again, as a restart ' +
        'policy does by itself, and it goes on with them. Please report this line',
    )
    void closeLog(output).finally(() => process.exit(1))
  })
}
