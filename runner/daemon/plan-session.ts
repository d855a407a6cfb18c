import type { Action } from '../session-types.ts'
import type { Session } from './session.ts'

/**
 * What is undone about one session. Ending and removing always go on; `mayAdvance` allows the steps towards a start.
 * The journal comes first in the list and gates only what could start something: a full disk must not keep a
 * container from being stopped.
 */
export function planSession(session: Session, mayAdvance: boolean): Action[] {
  const { phase, released } = session
  if (phase.at === 'ended' && released && phase.container !== 'alive') {
    const type = phase.container === 'stopped' ? 'remove' : 'erase'
    return [{ type, session_id: session.id }]
  }
  const actions: Action[] = []
  if (session.entry !== null && session.entry !== session.durable) {
    actions.push({ type: 'journal', entry: session.entry })
  }
  const step = session.ending === null && mayAdvance ? forward(session) : backward(session)
  return step === null ? actions : [...actions, step]
}

function forward(session: Session): Action | null {
  const { entry, durable, phase } = session
  if (phase.at === 'ended') return backward(session)
  if (entry === null || durable === null || !session.mayStart) return null
  const step = { session_id: session.id, job: entry.job }
  if (phase.at === 'accepted') return { type: 'prepare', ...step }
  if (phase.at === 'creating' && durable.step === 'creating') return { type: 'create', ...step }
  if (phase.at === 'created') return { type: 'start', ...step }
  return null
}

function backward(session: Session): Action | null {
  const { ending, phase } = session
  if (phase.at === 'ended')
    return phase.container === 'alive' ? { type: 'kill', session_id: session.id } : null
  if (ending === null || phase.at === 'accepted') return null
  return { type: ending.killing ? 'kill' : 'terminate', session_id: session.id }
}

/**
 * Attempts of one run never overlap on this host. A session that is being ended may be an earlier attempt; so may
 * one that was found with nothing known of it, until a `keep` says that it is wanted.
 */
export function earlierAttemptLives(session: Session, all: Iterable<Session>): boolean {
  for (const other of all) {
    const sameRun = other.entry === null || other.entry.run_id === session.entry?.run_id
    if (other === session || !sameRun) continue
    const { phase } = other
    if (phase.at === 'ended' ? phase.container === 'alive' : other.ending !== null || !other.confirmed)
      return true
  }
  return false
}
