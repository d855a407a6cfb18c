import type { Command, Job, Offer, SyncResponse, Verdict } from '../../../protocol/runner-api.ts'
import type { JournalEntry } from '../../../runner/session-types.ts'

/** Ids whose last character tells them apart, so that a failing test can be read. */
export function sessionId(letter: string): string {
  return `ses_01jd0000000000000000000${'00'}${letter}`
}
const CROCKFORD = '0123456789abcdefghjkmnpqrstvwxyz'

/** For tests on a real Engine, where container names are one space that everybody shares. */
export function uniqueSessionId(): string {
  const random = crypto.getRandomValues(new Uint8Array(24))
  return `ses_01${Array.from(random, byte => CROCKFORD[byte % 32]).join('')}`
}
export function runId(letter: string): string {
  return `run_01jd0000000000000000000${'00'}${letter}`
}
export function commandId(letter: string): string {
  return `cmd_01jd0000000000000000000${'00'}${letter}`
}

export const INSTALLATION = 'i'

export function aJob(change: Partial<Job> = {}): Job {
  return {
    image: 'certyn-test/busybox:latest',
    command: ['true'],
    env: { SECRET: 'canary' },
    timeout_seconds: 3600,
    resources: {},
    stream: false,
    ...change,
  }
}

export function anOffer(letter: string, change: Partial<Offer> = {}): Offer {
  return {
    session_id: sessionId(letter),
    run_id: runId(letter),
    attempt: 1,
    offer_ttl_ms: 20_000,
    job: aJob(),
    ...change,
  }
}

export function aReply(change: Partial<SyncResponse> = {}): SyncResponse {
  return {
    server_time: '2026-11-23T00:00:00.000Z',
    stale: false,
    next_sync_in_ms: 5000,
    lease_ttl_ms: 45_000,
    runner: { state: 'active', note: null },
    offers: [],
    commands: [],
    leases: [],
    ...change,
  }
}

export function aVerdict(letter: string, verdict: Verdict): { session_id: string; verdict: Verdict } {
  return { session_id: sessionId(letter), verdict }
}

export function aStop(letter: string, change: Partial<Command> = {}): Command {
  return {
    id: commandId(letter),
    type: 'stop_session',
    session_id: sessionId(letter),
    reason: 'cancelled',
    ...change,
  }
}

export function anEntry(letter: string, change: Partial<JournalEntry> = {}): JournalEntry {
  return {
    session_id: sessionId(letter),
    installation_id: INSTALLATION,
    run_id: runId(letter),
    attempt: 1,
    step: 'accepted',
    job: aJob(),
    offer: { sentAtMs: 0, deadlineMs: 20_000 },
    image_digest: null,
    ending: null,
    exit: null,
    started_at: null,
    startedAtMs: null,
    finished_at: null,
    ...change,
  }
}

/** For loops that are tested without what brings logs and artifacts. */
export const NOTHING_TO_COLLECT = {
  watch: () => undefined,
  ended: () => undefined,
  isSpooled: () => true,
  isDone: () => true,
  forget: async () => undefined,
}
