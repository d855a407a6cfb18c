import type { Exit, ExitReason } from '../../protocol/runner-api.ts'
import type { Log } from '../log.ts'
import type { Observation } from '../session-types.ts'
import type { Session } from './session.ts'

/** What an operator can do about an end that is not the test's own; null where nothing is wrong with the host. */
const REMEDIES: Readonly<Record<ExitReason, string | null>> = {
  exited: null,
  stopped: null,
  timed_out: null,
  oom: 'give the run more resources.memory_mb, or raise max_memory_mb in the policy file',
  command_not_found: 'check the run’s command and that the image holds it',
  image_not_found: 'check the image’s name and tag, and RUNNER_PULL_POLICY',
  image_auth: 'give the registry’s credentials in RUNNER_REGISTRY_AUTH_FILE',
  pull_failed: 'the registry or the Engine refused the pull; its message is given here',
  network_unreachable: 'check that this host reaches the registry (the Engine has proxy settings of its own)',
  engine_error: 'see the Docker Engine’s own log',
  disk_full: 'free disk space on this host, or raise RUNNER_SESSION_DISK_MB if the job needs it',
  policy_denied: 'the policy file of this host forbids the run; another runner may take it',
}

/** One line for each step of a session, so that a run can be followed by its id. */
export function logObservation(log: Log, session: Readonly<Session> | undefined, seen: Observation): void {
  const about = { session_id: session?.id, run_id: session?.entry?.run_id }
  switch (seen.type) {
    case 'pulling':
      log.info({ ...about, image: session?.entry?.job.image }, 'pulling the image')
      return
    case 'prepared':
      log.debug({ ...about, image_digest: seen.image_digest }, 'the image is here')
      return
    case 'image_gone':
      log.warn(
        { ...about, image: session?.entry?.job.image },
        'the image was removed meanwhile; getting it again',
      )
      return
    case 'running':
      log.info(about, 'the session runs')
      return
    case 'exited':
    case 'failed':
      if (session?.phase.at === 'ended') logExit(log, about, session.phase.exit)
      return
    case 'not_running':
      log.info(about, 'the session was stopped before it ran')
      return
    case 'erased':
      log.debug({ session_id: seen.session_id }, 'the session is forgotten')
      return
    case 'listing':
    case 'listing_failed':
    case 'journaled':
    case 'created':
    case 'removed':
      return
  }
}

function logExit(log: Log, about: object, exit: Exit): void {
  const remedy = REMEDIES[exit.reason]
  const line = { ...about, exit_code: exit.code, reason: exit.reason, detail: exit.message }
  if (remedy === null) log.info(line, 'the session ended')
  else log.warn({ ...line, remedy }, 'the session ended')
}
