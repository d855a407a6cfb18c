import type { Exit } from '../../protocol/runner-api.ts'
import type { ExitFacts, Found, Observation, RunningFacts } from '../session-types.ts'
import { endSession, type PendingEnd, rewrite, type Session } from './session.ts'

/** How what the Engine shows moves one session. An ended session stays ended, whatever turns up. */

const LOST_CREATE = 'the runner was stopped while it created the container, which is gone; it may have run'
const NEVER_STARTED = 'the container was found without a journal entry and had never been started'
const REMOVED = 'the container is gone; something other than the runner removed it'

/** Cleaning an Engine up may take an image once between two steps; again and again it is another trouble. */
const IMAGE_LOSSES = 3
const IMAGE_LOST = 'the image was removed from this host each time before its container was made'

/**
 * An end's time comes from another clock than ours, read a moment later. Within this of a stop the stop is believed to
 * have caused it: a signal that works at once must not pass for the job's own doing.
 */
const CLOCK_SLACK_MS = 1_000

type OfSession = Exclude<Observation, { readonly type: 'listing' | 'listing_failed' | 'erased' }>

export function observeSession(session: Session, seen: OfSession, nowMs: number): void {
  const { phase } = session
  switch (seen.type) {
    case 'journaled':
      session.durable = seen.entry
      return
    case 'pulling':
      if (phase.at === 'accepted') session.phase = { at: 'accepted', pulling: true }
      return
    case 'prepared':
      if (phase.at !== 'accepted') return
      session.imageDigest = seen.image_digest
      session.phase = { at: 'creating' }
      rewrite(session, { step: 'creating' })
      return
    case 'image_gone':
      seeImageGone(session)
      return
    case 'created':
      seeCreated(session, nowMs)
      return
    case 'running':
      seeRunning(session, seen, nowMs)
      return
    case 'exited':
      seeExited(session, seen, nowMs)
      return
    case 'failed':
      if (phase.at !== 'ended') endSession(session, seen.exit, seen.container ? 'stopped' : 'none')
      return
    case 'not_running':
      seeNotRunning(session, seen.container)
      return
    case 'removed':
      if (phase.at === 'ended') session.phase = { ...phase, container: 'none' }
  }
}

/** One line of a listing. */
export function recognise(session: Session, found: Found, nowMs: number): void {
  const isNew = session.phase.at === 'restored'
  session.imageDigest ??= found.image_digest
  switch (found.state) {
    case 'created':
      if (isNew && session.entry === null) {
        endSession(session, { code: null, reason: 'engine_error', message: NEVER_STARTED }, 'stopped')
      }
      seeCreated(session, nowMs)
      return
    case 'running':
      if (isNew) session.notices.add('adopted')
      seeRunning(session, found, nowMs)
      return
    case 'exited':
      seeExited(session, found, nowMs)
      return
  }
}

/** A listing without the session's container, begun at `asOfMs`: it says nothing of a container newer than that. */
export function missFromListing(session: Session, asOfMs: number): void {
  const { phase, entry, ending, knownSinceMs } = session
  if (phase.at === 'restored') {
    // A create that was cut off may have left something that is no container yet, so it is removed all the same.
    const leftover = entry?.step === 'accepted' ? 'none' : 'stopped'
    if (ending !== null) endSession(session, endedBy(ending, null), leftover)
    else if (leftover === 'none') session.phase = { at: 'accepted', pulling: false }
    else endSession(session, { code: null, reason: 'engine_error', message: LOST_CREATE }, leftover)
    return
  }
  if (knownSinceMs === null || knownSinceMs >= asOfMs) return
  if (phase.at === 'ended') {
    session.phase = { ...phase, container: 'none' }
  } else {
    const gone = { code: null, reason: 'engine_error', message: REMOVED } as const
    endSession(session, ending === null ? gone : endedBy(ending, null), 'none')
  }
}

/** Nothing was made of it, so it begins again where the image comes from. */
function seeImageGone(session: Session): void {
  if (session.phase.at !== 'creating') return
  session.imageLosses += 1
  if (session.ending !== null) {
    endSession(session, endedBy(session.ending, null), 'none')
  } else if (session.imageLosses >= IMAGE_LOSSES) {
    endSession(session, { code: null, reason: 'engine_error', message: IMAGE_LOST }, 'none')
  } else {
    session.phase = { at: 'accepted', pulling: false }
    rewrite(session, { step: 'accepted' })
  }
}

function seeCreated(session: Session, nowMs: number): void {
  session.knownSinceMs ??= nowMs
  const { phase } = session
  if (phase.at === 'ended') {
    session.phase = { ...phase, container: 'stopped' }
  } else if (phase.at !== 'created' && phase.at !== 'running') {
    session.phase = { at: 'created' }
    rewrite(session, { step: 'created' })
  }
}

function seeRunning(session: Session, facts: RunningFacts, nowMs: number): void {
  session.knownSinceMs ??= nowMs
  if (session.phase.at === 'ended') {
    session.phase = { ...session.phase, container: 'alive' }
    return
  }
  // Later sights, and other processes, compute the start anew from the wall clock, whose steps must neither lengthen
  // nor shorten a run.
  if (session.phase.at === 'running') return
  const startedAtMs = session.entry?.startedAtMs ?? facts.startedAtMs
  session.startedAt ??= facts.started_at
  session.phase = { at: 'running', startedAtMs }
  if (session.entry !== null && session.entry.startedAtMs === null) rewrite(session, { startedAtMs })
}

function seeExited(session: Session, facts: ExitFacts, nowMs: number): void {
  session.knownSinceMs ??= nowMs
  if (session.phase.at === 'ended') {
    session.phase = { ...session.phase, container: 'stopped' }
    return
  }
  session.startedAt = facts.started_at ?? session.startedAt
  session.finishedAt = facts.finished_at
  for (const notice of facts.notices) session.notices.add(notice)
  endSession(session, exitOf(session, facts), 'stopped')
}

function seeNotRunning(session: Session, container: boolean): void {
  const { phase, ending } = session
  const leftover = container ? 'stopped' : 'none'
  if (phase.at === 'ended') session.phase = { ...phase, container: leftover }
  else if (ending !== null) endSession(session, endedBy(ending, null), leftover)
}

/** A stop or timeout in progress names the exit, unless the container had ended before it began. */
function exitOf({ ending }: Session, facts: ExitFacts): Exit {
  const endedBefore =
    ending !== null && facts.finishedAtMs !== null && facts.finishedAtMs < ending.sinceMs - CLOCK_SLACK_MS
  return ending === null || endedBefore ? facts.exit : endedBy(ending, facts.exit.code)
}

function endedBy(ending: PendingEnd, code: number | null): Exit {
  return { code, reason: ending.reason, message: ending.message }
}
