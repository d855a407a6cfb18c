import type { Exit, ExitReason } from '../../../protocol/runner-api.ts'
import { redactor } from '../../redaction.ts'

/** What the Engine says when a session cannot be brought to run, told apart by its words: it has no codes for them. */

/** It repeats what it was given, a job's proxy with its password too, and what it says goes to the control plane. */
const clean = redactor([])
const MESSAGE_LIMIT_CHARS = 1000

type Step = 'pull' | 'create' | 'start'

/** First match wins. The wordings are those of Engine 20.10 to 29 and of the common registries. */
const WORDINGS: readonly (readonly [RegExp, ExitReason, readonly Step[]])[] = [
  [/no space left on device|disk quota exceeded/i, 'disk_full', ['pull', 'create', 'start']],
  [
    /executable file not found|no such file or directory: unknown|exec: ".*": (?:stat|permission denied|is a directory)/i,
    'command_not_found',
    ['start'],
  ],
  [
    /no basic auth credentials|unauthorized|authentication required|denied: (?:requested access|access forbidden|permission)|incorrect username or password|403 forbidden/i,
    'image_auth',
    ['pull'],
  ],
  [
    /manifest unknown|manifest for .* not found|repository does not exist|name unknown|no such image|not found: manifest|no matching manifest/i,
    'image_not_found',
    ['pull', 'create'],
  ],
  [
    /no such host|network is unreachable|connection refused|no route to host|i\/o timeout|tls handshake timeout|connection reset by peer|temporary failure in name resolution|server misbehaving|context deadline exceeded|request canceled while waiting for connection|proxyconnect|x509:/i,
    'network_unreachable',
    ['pull'],
  ],
  [
    /network .* not found|could not find an available.* address|failed to create endpoint|address already in use/i,
    'network_unreachable',
    ['start'],
  ],
]

const OTHERWISE: Readonly<Record<Step, ExitReason>> = {
  pull: 'pull_failed',
  create: 'engine_error',
  start: 'engine_error',
}

export function classifyFailure(step: Step, message: string): Exit {
  const known = WORDINGS.find(([wording, , steps]) => steps.includes(step) && wording.test(message))
  const reason = known?.[1] ?? OTHERWISE[step]
  return { code: reason === 'command_not_found' ? 127 : null, reason, message: said(message) }
}

function said(message: string): string {
  return clean(message).slice(0, MESSAGE_LIMIT_CHARS)
}

/** What shells and init processes exit with when the program is not there. */
const EXIT_NOT_FOUND = 127

/**
 * The result of a container that ran. A child that was killed for memory under an init can leave the exit code 0:
 * that is worth a notice, not a failure.
 */
export function classifyExit(
  code: number,
  oomKilled: boolean,
  error: string,
): { exit: Exit; memoryPressure: boolean } {
  if (oomKilled && code !== 0) {
    return {
      exit: { code, reason: 'oom', message: 'the container reached its memory limit' },
      memoryPressure: true,
    }
  }
  if (code === EXIT_NOT_FOUND) {
    const message = said(error) || 'the command, or one it called last, was not found in the image'
    return { exit: { code, reason: 'command_not_found', message }, memoryPressure: oomKilled }
  }
  return {
    exit: { code, reason: 'exited', ...(error && { message: said(error) }) },
    memoryPressure: oomKilled,
  }
}
