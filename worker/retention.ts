import { logLine } from '../durable-objects/log.ts'
import type { Settings } from '../durable-objects/settings.ts'
import { deleteSessionsBefore } from './directory/browser-sessions.ts'
import type { Directory } from './directory/database.ts'
import {
  deleteAdmissionsBefore,
  deleteAnnouncedRunsBefore,
  deleteAuditEventsBefore,
  deleteLinksBefore,
  deleteRunsBefore,
} from './directory/retention.ts'
import { ADMISSION_RETENTION_MS } from './directory/stream-admissions.ts'
import { firstIdAt } from './ids.ts'

/** Small enough for one D1 statement, and a sweep is bounded so that the next one goes on where it ended. */
const BATCH_ROWS = 500
const BATCHES_PER_SWEEP = 100
const DAY_MS = 24 * 60 * 60 * 1000
/** The outbox brings a run's snapshot within minutes; an announcement this old is of a run no object took. */
const ANNOUNCED_KEPT_MS = DAY_MS

/** So long a page that was left open can say that its session has expired, rather than that it never was. */
const EXPIRED_SESSION_KEPT_MS = DAY_MS

/** So long the list of links still tells of one that has ended. */
const ENDED_LINK_KEPT_MS = 30 * DAY_MS

/** Deletes ended runs, their events and audit events older than the history is kept, and what has long been over. */
export async function sweepHistory(directory: Directory, settings: Settings, now: number): Promise<void> {
  const cutoff = now - settings.SelfHosted__HistoryRetentionDays * DAY_MS
  const deletedRuns = await inBatches(limit => deleteRunsBefore(directory, firstIdAt('run', cutoff), limit))
  const deletedEvents = await inBatches(limit =>
    deleteAuditEventsBefore(directory, firstIdAt('auditEvent', cutoff), limit),
  )
  const deletedAnnounced = await inBatches(limit =>
    deleteAnnouncedRunsBefore(directory, firstIdAt('run', now - ANNOUNCED_KEPT_MS), limit),
  )
  const deletedSessions = await inBatches(limit =>
    deleteSessionsBefore(directory, now - EXPIRED_SESSION_KEPT_MS, limit),
  )
  const deletedLinks = await inBatches(limit => deleteLinksBefore(directory, now - ENDED_LINK_KEPT_MS, limit))
  const deletedAdmissions = await inBatches(limit =>
    deleteAdmissionsBefore(directory, now - ADMISSION_RETENTION_MS, limit),
  )
  logLine('info', 'history_swept', {
    runs: deletedRuns,
    announced: deletedAnnounced,
    audit_events: deletedEvents,
    browser_sessions: deletedSessions,
    live_links: deletedLinks,
    stream_admissions: deletedAdmissions,
  })
}

async function inBatches(deleteSome: (limit: number) => Promise<number>): Promise<number> {
  let total = 0
  for (let i = 0; i < BATCHES_PER_SWEEP; i++) {
    const deleted = await deleteSome(BATCH_ROWS)
    total += deleted
    if (deleted < BATCH_ROWS) break
  }
  return total
}
