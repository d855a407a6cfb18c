import type { Exit, Job, Offer } from '../../protocol/runner-api.ts'
import type { Ending, JournalEntry, LastSync, LedgerOptions, Notice } from '../session-types.ts'
import { sessionTraceparent } from '../telemetry/traceparent.ts'

/** Where a session stands in the Engine, as far as this process knows. */
type Phase =
  /** Restored from the journal, or just found; the first listing tells what there is. */
  | { readonly at: 'restored' }
  /** No container has been asked for. */
  | { readonly at: 'accepted'; readonly pulling: boolean }
  /** The image is here and a container may have been asked for. */
  | { readonly at: 'creating' }
  /** The container exists, and its start may have been asked for. */
  | { readonly at: 'created' }
  | { readonly at: 'running'; readonly startedAtMs: number }
  /** `container`: what is left of it; `alive` only when one turned up after the end was reported. */
  | { readonly at: 'ended'; readonly exit: Exit; readonly container: Leftover }

type Leftover = 'none' | 'stopped' | 'alive'

/** An end in progress. `killAtMs` is null until the first plan after a restart, `killing` once it has passed. */
export interface PendingEnd extends Ending {
  readonly sinceMs: number
  killAtMs: number | null
  killing: boolean
}

export interface Session {
  readonly id: string
  /** Of the registration that this one has succeeded: nobody is told of it, and it ends. */
  isFormer: boolean
  phase: Phase
  /** What the journal should hold; null for a container found without an entry. */
  entry: JournalEntry | null
  /** What the journal is known to hold. */
  durable: JournalEntry | null
  /** When the container was first known to exist: an older listing says nothing about it. */
  knownSinceMs: number | null
  /** The offer's end while no `keep` has confirmed the session, then the lease's; null: nothing to lose. */
  deadlineMs: number | null
  confirmed: boolean
  /** False until `keep` for what an earlier process left unstarted. */
  mayStart: boolean
  ending: PendingEnd | null
  /** The server has said `forget` or `stop`: once ended, container and entry may go. */
  released: boolean
  imageDigest: string | null
  /** How often the image went between its arrival and the container. */
  imageLosses: number
  startedAt: string | null
  finishedAt: string | null
  readonly notices: Set<Notice>
}

function blank(id: string): Session {
  return {
    id,
    isFormer: false,
    phase: { at: 'accepted', pulling: false },
    entry: null,
    durable: null,
    knownSinceMs: null,
    deadlineMs: null,
    confirmed: false,
    mayStart: false,
    ending: null,
    released: false,
    imageDigest: null,
    imageLosses: 0,
    startedAt: null,
    finishedAt: null,
    notices: new Set(),
  }
}

export function offeredSession(
  offer: Offer,
  sentAtMs: number,
  { installationId, isTraced = false }: Pick<LedgerOptions, 'installationId' | 'isTraced'>,
): Session {
  const { traceparent } = offer
  const deadlineMs = sentAtMs + offer.offer_ttl_ms
  const entry: JournalEntry = {
    session_id: offer.session_id,
    installation_id: installationId,
    run_id: offer.run_id,
    attempt: offer.attempt,
    step: 'accepted',
    job: tracedJob(offer, isTraced),
    offer: { sentAtMs, deadlineMs },
    image_digest: null,
    ending: null,
    exit: null,
    started_at: null,
    startedAtMs: null,
    finished_at: null,
    ...(traceparent !== undefined && { traceparent }),
  }
  return { ...blank(offer.session_id), entry, deadlineMs, mayStart: true }
}

/** The job is told what it is a part of, unless it was started with a trace of its own. */
function tracedJob({ job, session_id, traceparent }: Offer, isTraced: boolean): Job {
  if (traceparent === undefined) return job
  const TRACEPARENT = isTraced ? sessionTraceparent(traceparent, session_id) : traceparent
  return { ...job, env: { TRACEPARENT, ...job.env } }
}

/**
 * A session was confirmed if a sync later than the one that brought it was applied, because every sync lists
 * everything: its deadline is then the lease's, otherwise still the offer's.
 */
export function restoredSession(
  entry: JournalEntry,
  lastSync: LastSync | null,
  installationId: string,
): Session {
  const confirmed = lastSync !== null && (entry.offer === null || lastSync.sentAtMs > entry.offer.sentAtMs)
  return {
    ...blank(entry.session_id),
    isFormer: entry.installation_id !== installationId,
    phase: entry.exit === null ? { at: 'restored' } : { at: 'ended', exit: entry.exit, container: 'stopped' },
    entry,
    durable: entry,
    confirmed,
    deadlineMs: confirmed ? lastSync.sentAtMs + lastSync.leaseTtlMs : (entry.offer?.deadlineMs ?? null),
    ending: entry.ending && { ...entry.ending, sinceMs: 0, killAtMs: null, killing: false },
    imageDigest: entry.image_digest,
    startedAt: entry.started_at,
    finishedAt: entry.finished_at,
  }
}

/** A container of this installation that no journal entry speaks of: it may be kept, never started. */
export function foundSession(id: string): Session {
  return { ...blank(id), phase: { at: 'restored' } }
}

export function endSession(session: Session, exit: Exit, container: Leftover): void {
  session.phase = { at: 'ended', exit, container }
  rewrite(session, { step: 'ended', exit })
}

/** When the run's own time is over, counted from the container's start; never, unless it runs. */
export function timeoutAtMs(session: Session): number {
  if (session.phase.at !== 'running' || session.entry === null) return Number.POSITIVE_INFINITY
  return session.phase.startedAtMs + session.entry.job.timeout_seconds * 1000
}

/** Replaces the wanted journal entry, carrying along what the session has learnt. */
export function rewrite(session: Session, change: Partial<JournalEntry>): void {
  if (session.entry === null) return
  const step = change.step ?? session.entry.step
  const { job } = session.entry
  session.entry = {
    ...session.entry,
    image_digest: session.imageDigest,
    started_at: session.startedAt,
    finished_at: session.finishedAt,
    ...change,
    job: step === 'created' || step === 'ended' ? { ...job, env: {} } : job,
  }
}
