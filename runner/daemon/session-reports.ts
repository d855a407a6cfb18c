import { BODY_LIMIT_BYTES, SYNC_LEASE_LIMIT } from '../../protocol/limits.ts'
import type { Exit, LeaseReport, SessionState } from '../../protocol/runner-api.ts'
import type { Session } from './session.ts'

/** What a sync says of the sessions. */

/** What the contract keeps of an exit's message. */
const MESSAGE_LIMIT_CHARS = 1000
/** A sync's body holds acknowledgements beside its leases, and what the host is and how it fares. */
const LEASES_LIMIT_BYTES = BODY_LIMIT_BYTES / 2

/**
 * What lives comes first: it is renewed by being listed. What has ended and was released is left out, because the
 * control plane has nothing more to say of it, however long its uploads take; and so is what a sync has no room for.
 * @returns `areAll`: nothing was left out for want of room
 */
export function reportsOf(sessions: Iterable<Session>): { leases: LeaseReport[]; areAll: boolean } {
  const listed = [...sessions].filter(session => !session.isFormer && !isSettled(session))
  const [ended, live] = [listed.filter(hasEnded), listed.filter(session => !hasEnded(session))]
  const leases: LeaseReport[] = []
  let bytes = 0
  for (const report of [...live, ...ended].map(reportOf)) {
    bytes += Buffer.byteLength(JSON.stringify(report))
    if (leases.length === SYNC_LEASE_LIMIT || bytes > LEASES_LIMIT_BYTES) return { leases, areAll: false }
    leases.push(report)
  }
  return { leases, areAll: true }
}

function hasEnded({ phase }: Session): boolean {
  return phase.at === 'ended'
}

function isSettled({ phase, released }: Session): boolean {
  return released && phase.at === 'ended' && phase.container !== 'alive'
}

function reportOf(session: Session): LeaseReport {
  const { phase } = session
  return {
    session_id: session.id,
    state: stateOf(session),
    ...(session.imageDigest !== null && { image_digest: session.imageDigest }),
    ...(session.startedAt !== null && { started_at: session.startedAt }),
    ...(session.finishedAt !== null && { finished_at: session.finishedAt }),
    ...(phase.at === 'ended' && { exit: reportedExit(phase.exit) }),
    ...noticesOf(session),
  }
}

/** A session that is being ended was found, but not kept. */
function noticesOf({ notices, ending }: Session): Pick<LeaseReport, 'notices'> {
  const said = [...notices].filter(notice => notice !== 'adopted' || ending === null)
  return said.length > 0 ? { notices: said } : {}
}

/** Cut as the control plane would cut it, so that long messages cannot make a sync too large to be taken. */
function reportedExit(exit: Exit): Exit {
  if (exit.message === undefined) return exit
  return { ...exit, message: exit.message.slice(0, MESSAGE_LIMIT_CHARS).toWellFormed() }
}

function stateOf(session: Session): SessionState {
  const { phase } = session
  if (phase.at === 'ended') return 'exited'
  if (session.ending !== null) return 'stopping'
  switch (phase.at) {
    case 'accepted':
      // It has been starting before, and what is reported never goes back.
      if (session.imageLosses > 0) return 'starting'
      return phase.pulling ? 'pulling' : 'accepted'
    case 'restored':
      return session.entry?.step === 'accepted' ? 'accepted' : 'starting'
    case 'creating':
    case 'created':
      return 'starting'
    case 'running':
      return 'running'
  }
}
