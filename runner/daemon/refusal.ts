import type { ErrorCode } from '../../protocol/errors.ts'
import { jittered, sleep } from '../clock.ts'
import type { Log } from '../log.ts'

const REMIND_MS = 300_000

/** Why the control plane no longer hears this process. */
export interface Refused {
  readonly code: ErrorCode
  readonly detail: string
}

const REMEDIES = {
  unauthenticated:
    'the control plane no longer takes this runner’s credential: it was removed there; create a new registration token, set REGISTRATION_TOKEN and start the runner again',
  unsupported_protocol:
    'this release is not supported by the control plane: start the release that the message names',
  boot_superseded:
    'another process runs with this runner’s identity, perhaps from a copied state directory: give each runner a state directory of its own',
} as const satisfies Partial<Record<ErrorCode, string>>

/** Stays up and says why now and then: a process that ended would be restarted into the same refusal. */
export async function idle(refused: Refused, log: Log, signal: AbortSignal): Promise<void> {
  const remedies: Partial<Record<ErrorCode, string>> = REMEDIES
  const line = { ...refused, remedy: remedies[refused.code] }
  while (!signal.aborted) {
    log.fatal(
      line,
      'this process may no longer speak for the runner; its sessions are stopped and it stays idle',
    )
    await sleep(jittered(REMIND_MS), signal)
  }
}
