import type { Exit, Job, LeaseReport } from '../protocol/runner-api.ts'

/** The vocabulary between the ledger and the shell that executes its plans. All `...Ms` are on one monotonic clock. */

/** How far a session may have got in the Engine, written before the step it names is begun. */
type JournalStep = 'accepted' | 'creating' | 'created' | 'ended'

/** Why the runner itself ends a session; it becomes the reason of the exit. */
export const END_REASONS = ['stopped', 'timed_out', 'disk_full'] as const
export type EndReason = (typeof END_REASONS)[number]

export interface Ending {
  readonly reason: EndReason
  readonly message: string
}

/** What outlives the daemon about one session. Instances are never mutated: identity tells old from new. */
export interface JournalEntry {
  readonly session_id: string
  /** Of the runner whose session it is: under another name, or in another pool, it has been another runner. */
  readonly installation_id: string
  readonly run_id: string
  readonly attempt: number
  readonly step: JournalStep
  /** `env` is emptied from step `created` on: the container has it, and secrets should not lie about. */
  readonly job: Job
  /** Send time of the sync that brought the offer and the offer's end; null when the clock has begun anew since. */
  readonly offer: { readonly sentAtMs: number; readonly deadlineMs: number } | null
  readonly image_digest: string | null
  readonly ending: Ending | null
  readonly exit: Exit | null
  readonly started_at: string | null
  /** The same on the monotonic clock; null while it has not run, and when that clock has begun anew since. */
  readonly startedAtMs: number | null
  readonly finished_at: string | null
  /** Of the call that created the run, where that was traced. */
  readonly traceparent?: string
}

export type Notice = NonNullable<LeaseReport['notices']>[number]

/** The last sync that was applied, as far as it was persisted. */
export interface LastSync {
  readonly sentAtMs: number
  readonly leaseTtlMs: number
}

export interface RunningFacts {
  readonly startedAtMs: number
  readonly started_at: string
}

export interface ExitFacts {
  readonly exit: Exit
  readonly started_at: string | null
  readonly finished_at: string | null
  /** Null when unknown: then a pending stop or timeout names the exit. */
  readonly finishedAtMs: number | null
  readonly notices: readonly Notice[]
}

interface FoundBase {
  readonly session_id: string
  readonly image_digest: string | null
  /** Of the installation that this one has succeeded. */
  readonly isFormer?: boolean
}

/** One container (or host process) of this installation, or of a former one, as the Engine sees it. */
export type Found = FoundBase &
  (
    | { readonly state: 'created' }
    | ({ readonly state: 'running' } & RunningFacts)
    | ({ readonly state: 'exited' } & ExitFacts)
  )

export type Observation =
  /** A full listing of this installation, begun at `asOfMs`: what is not in it was not there then. */
  | { readonly type: 'listing'; readonly asOfMs: number; readonly found: readonly Found[] }
  | { readonly type: 'listing_failed' }
  | { readonly type: 'journaled'; readonly entry: JournalEntry }
  | { readonly type: 'pulling'; readonly session_id: string }
  /** The image is here and the job is allowed; a container may be created. */
  | {
      readonly type: 'prepared'
      readonly session_id: string
      readonly image_digest: string | null
      /** Release of an agent image. */
      readonly agent_version?: string | null
    }
  /** The image has gone since, so no container was made. */
  | { readonly type: 'image_gone'; readonly session_id: string }
  | { readonly type: 'created'; readonly session_id: string }
  | ({ readonly type: 'running'; readonly session_id: string } & RunningFacts)
  /** The container ended by itself or by a signal. It still exists. */
  | ({ readonly type: 'exited'; readonly session_id: string } & ExitFacts)
  /** The session could not be brought to run, and nothing of it runs now. `container`: one exists all the same. */
  | { readonly type: 'failed'; readonly session_id: string; readonly exit: Exit; readonly container: boolean }
  /** Asked to end it: nothing of it runs, and no start in flight can make it run. `container`: one exists. */
  | { readonly type: 'not_running'; readonly session_id: string; readonly container: boolean }
  | { readonly type: 'removed'; readonly session_id: string }
  | { readonly type: 'erased'; readonly session_id: string }

/**
 * What is still undone, repeated by every plan until an observation says it is done. The shell works on one Engine
 * action per session at a time. A `prepare` that a plan no longer repeats is given up, as is what keeps a `terminate`
 * or a `kill` waiting; every other action is waited for. A connection that breaks in the middle of `create` or
 * `start` is no answer: the action is tried again.
 */
export type Action =
  /** Write durably, then observe `journaled` with the same entry. */
  | { readonly type: 'journal'; readonly entry: JournalEntry }
  /** Check the policy, get the image. Creates nothing. */
  | { readonly type: 'prepare'; readonly session_id: string; readonly job: Job }
  | { readonly type: 'create'; readonly session_id: string; readonly job: Job }
  /** Only a container that was never started may be started, so the shell looks before it does. */
  | { readonly type: 'start'; readonly session_id: string; readonly job: Job }
  /** SIGTERM, sent once; answers `not_running` when there is nothing to signal. */
  | { readonly type: 'terminate'; readonly session_id: string }
  /** SIGKILL; answers `not_running` when there is nothing to signal. */
  | { readonly type: 'kill'; readonly session_id: string }
  /** Remove the ended container. */
  | { readonly type: 'remove'; readonly session_id: string }
  /** Delete the session folder, and the journal entry last of all. */
  | { readonly type: 'erase'; readonly session_id: string }

export interface Draft {
  readonly draining: boolean
  readonly leaving: boolean
  readonly inventory: 'complete' | 'unknown'
  readonly slots: { readonly max: number }
  readonly leases: LeaseReport[]
  readonly acks: string[]
  /** Of the agent image that was last prepared; absent before the first. */
  readonly agent_version?: string
}

export interface LedgerOptions {
  /** What this runner's containers are known by. */
  readonly installationId: string
  readonly slotsMax: number
  readonly stopGraceMs: number
  readonly restored: readonly JournalEntry[]
  /** Null when none is known of this boot of the kernel. */
  readonly lastSync: LastSync | null
  /** Whether this runner has a span of its own for every session. */
  readonly isTraced?: boolean
}
