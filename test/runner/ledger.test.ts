import { beforeEach, describe, expect, test } from 'vitest'
import { BODY_LIMIT_BYTES, SYNC_LEASE_LIMIT } from '../../protocol/limits.ts'
import { FENCE_MS, FOUND_LEASE_MS, LEASE_KILL_MS, SessionLedger } from '../../runner/daemon/ledger.ts'
import type { Action, Found, LedgerOptions, Observation } from '../../runner/session-types.ts'
import {
  aJob,
  anEntry,
  anOffer,
  aReply,
  aStop,
  aVerdict,
  commandId,
  INSTALLATION,
  runId,
  sessionId,
} from './support/factories.ts'

const GRACE_MS = 10_000
const STARTED = '2026-11-23T00:00:01Z'

let now: number
let ledger: SessionLedger

beforeEach(() => {
  now = 1000
  ledger = fresh()
})

function fresh(change: Partial<LedgerOptions> = {}): SessionLedger {
  return new SessionLedger({
    installationId: INSTALLATION,
    slotsMax: 2,
    stopGraceMs: GRACE_MS,
    restored: [],
    lastSync: null,
    ...change,
  })
}
function see(event: Observation): void {
  ledger.observe(event, now)
}
function list(...found: Found[]): void {
  see({ type: 'listing', asOfMs: now, found })
}
function reply(change: Parameters<typeof aReply>[0], sentAtMs = now): void {
  ledger.applyReply(aReply(change), sentAtMs, now)
}
function running(letter: string): Found {
  return {
    session_id: sessionId(letter),
    image_digest: null,
    state: 'running',
    startedAtMs: now,
    started_at: STARTED,
  }
}
function created(letter: string): Found {
  return { session_id: sessionId(letter), image_digest: null, state: 'created' }
}
function exit(letter: string, code = 0, finishedAtMs: number | null = now): Observation {
  return {
    type: 'exited',
    session_id: sessionId(letter),
    exit: { code, reason: 'exited' },
    started_at: STARTED,
    finished_at: STARTED,
    finishedAtMs,
    notices: [],
  }
}
/** Action types planned for a session; journal writes are done on the way unless `journal: false`. */
function undone(letter: string): Action['type'][] {
  return planned(letter).map(action => action.type)
}
function planned(letter: string): Action[] {
  const id = sessionId(letter)
  return ledger
    .plan(now)
    .filter(one => (one.type === 'journal' ? one.entry.session_id : one.session_id) === id)
}
function writeJournal(): void {
  for (const action of ledger.plan(now)) {
    if (action.type === 'journal') see({ type: 'journaled', entry: action.entry })
  }
}
function lease(letter: string) {
  return ledger.draft(now).leases.find(one => one.session_id === sessionId(letter))
}
/** Walks an accepted session to a running container, as a healthy Engine would. */
function run(letter: string): void {
  const session_id = sessionId(letter)
  writeJournal()
  see({ type: 'prepared', session_id, image_digest: 'sha256:1' })
  writeJournal()
  see({ type: 'created', session_id })
  see({ type: 'running', session_id, startedAtMs: now, started_at: STARTED })
  writeJournal()
}
function acceptAndRun(letter: string): void {
  list()
  reply({ offers: [anOffer(letter)] })
  run(letter)
  reply({ leases: [aVerdict(letter, 'keep')] })
}

describe('taking offers', () => {
  test('more sessions than slots are never taken', () => {
    list()
    reply({ offers: [anOffer('a'), anOffer('b'), anOffer('c')] })
    expect(ledger.draft(now).leases).toHaveLength(2)
    expect(lease('c')).toBeUndefined()
  })

  test('an ended session gives its slot back before it is forgotten', () => {
    ledger = fresh({ slotsMax: 1 })
    acceptAndRun('a')
    see(exit('a'))
    reply({ offers: [anOffer('b')] })
    expect(lease('b')?.state).toBe('accepted')
  })

  test('an offer given again is the same session', () => {
    list()
    reply({ offers: [anOffer('a')] })
    reply({ offers: [anOffer('a')] })
    expect(ledger.draft(now).leases).toHaveLength(1)
  })

  test('a session that ended and was forgotten is never taken again while it is remembered', () => {
    acceptAndRun('a')
    see(exit('a'))
    reply({ leases: [aVerdict('a', 'forget')] })
    see({ type: 'removed', session_id: sessionId('a') })
    see({ type: 'erased', session_id: sessionId('a') })
    now += FENCE_MS / 2
    reply({ offers: [anOffer('a')] })
    expect(ledger.draft(now).leases).toEqual([])
  })

  test('a session that was ordered to stop before it was offered is never taken', () => {
    list()
    reply({ commands: [aStop('a')] })
    reply({ offers: [anOffer('a')] })
    expect(ledger.draft(now).leases).toEqual([])
  })

  test('a stop and an offer of one session in the same reply start nothing', () => {
    list()
    reply({ commands: [aStop('a')], offers: [anOffer('a')] })
    expect(ledger.plan(now)).toEqual([])
  })

  test('an offer whose time is over when its reply arrives is left alone', () => {
    list()
    now += 20_000
    reply({ offers: [anOffer('a')] }, now - 20_000)
    expect(ledger.draft(now).leases).toEqual([])
  })

  test('a stale reply, and one to an older sync than the last applied, change nothing', () => {
    list()
    reply({ stale: true, offers: [anOffer('a')] })
    reply({}, 900)
    reply({ offers: [anOffer('b')] }, 800)
    expect(ledger.draft(now).leases).toEqual([])
  })
})

describe('starting', () => {
  test('nothing is asked of the Engine before the journal holds the session', () => {
    list()
    reply({ offers: [anOffer('a')] })
    expect(undone('a')).toEqual(['journal'])
    writeJournal()
    expect(undone('a')).toEqual(['prepare'])
  })

  test('no container is asked for before the journal says it may exist', () => {
    list()
    reply({ offers: [anOffer('a')] })
    writeJournal()
    see({ type: 'prepared', session_id: sessionId('a'), image_digest: null })
    expect(undone('a')).toEqual(['journal'])
    writeJournal()
    expect(undone('a')).toEqual(['create'])
    expect(ledger.session(sessionId('a'))?.durable?.step).toBe('creating')
  })

  test('the journal drops the environment once the container has it', () => {
    list()
    reply({ offers: [anOffer('a')] })
    run('a')
    const durable = ledger.session(sessionId('a'))?.durable
    expect(durable?.step).toBe('created')
    expect(durable?.job.env).toEqual({})
  })

  test('each step shows in the next report', () => {
    const session_id = sessionId('a')
    list()
    reply({ offers: [anOffer('a')] })
    expect(lease('a')?.state).toBe('accepted')
    see({ type: 'pulling', session_id })
    expect(lease('a')?.state).toBe('pulling')
    see({ type: 'prepared', session_id, image_digest: 'sha256:1' })
    expect(lease('a')).toMatchObject({ state: 'starting', image_digest: 'sha256:1' })
    see({ type: 'created', session_id })
    expect(lease('a')?.state).toBe('starting')
    see({ type: 'running', session_id, startedAtMs: now, started_at: STARTED })
    expect(lease('a')).toMatchObject({ state: 'running', started_at: STARTED })
    see(exit('a', 3))
    expect(lease('a')).toMatchObject({ state: 'exited', exit: { code: 3, reason: 'exited' } })
  })
})

describe('an image that goes before the container is made', () => {
  const session_id = sessionId('a')

  function lose(): void {
    see({ type: 'prepared', session_id, image_digest: 'sha256:1' })
    writeJournal()
    expect(undone('a')).toEqual(['create'])
    see({ type: 'image_gone', session_id })
    writeJournal()
  }

  test('is got again, with the environment that its container needs', () => {
    list()
    reply({ offers: [anOffer('a')] })
    writeJournal()
    lose()
    see({ type: 'pulling', session_id })
    expect(lease('a')?.state).toBe('starting')
    expect(ledger.session(session_id)?.durable?.step).toBe('accepted')
    expect(planned('a')).toMatchObject([{ type: 'prepare', job: { env: { SECRET: 'canary' } } }])
  })

  test('is this host’s trouble when it goes again and again', () => {
    list()
    reply({ offers: [anOffer('a')] })
    writeJournal()
    for (let times = 0; times < 3; times++) lose()
    expect(lease('a')).toMatchObject({ state: 'exited', exit: { code: null, reason: 'engine_error' } })
    expect(undone('a')).toEqual([])
  })

  test('starts nothing anew once the session is to end', () => {
    list()
    reply({ offers: [anOffer('a')] })
    writeJournal()
    see({ type: 'prepared', session_id, image_digest: null })
    writeJournal()
    reply({ commands: [aStop('a')], leases: [aVerdict('a', 'keep')] })
    see({ type: 'image_gone', session_id })
    expect(lease('a')).toMatchObject({ state: 'exited', exit: { code: null, reason: 'stopped' } })
    expect(undone('a')).not.toContain('prepare')
  })
})

describe('deadlines', () => {
  test('what no keep confirmed is killed at the end of its offer, counted from the sending of the sync', () => {
    list()
    now = 5000
    reply({ offers: [anOffer('a')] }, 2000)
    run('a')
    expect(ledger.nextDueAt()).toBe(22_000)
    now = 21_999
    expect(undone('a')).toEqual([])
    now = 22_000
    expect(undone('a')).toContain('kill')
  })

  test('the smallest of the deadlines an offer was given counts', () => {
    list()
    reply({ offers: [anOffer('a')] })
    now += 1000
    reply({ offers: [anOffer('a', { offer_ttl_ms: 5000 })] })
    now += 500
    reply({ offers: [anOffer('a', { offer_ttl_ms: 60_000 })] })
    expect(ledger.nextDueAt()).toBe(2000 + 5000)
  })

  test('at the end of the lease a session is terminated, and killed ten seconds later', () => {
    list()
    reply({ offers: [anOffer('a')] })
    run('a')
    now = 4000
    reply({ leases: [aVerdict('a', 'keep')] }, 3000)
    expect(ledger.nextDueAt()).toBe(48_000)
    now = 47_999
    expect(undone('a')).toEqual([])
    now = 48_000
    expect(undone('a')).toContain('terminate')
    expect(ledger.nextDueAt()).toBe(48_000 + LEASE_KILL_MS)
    now += LEASE_KILL_MS
    expect(undone('a')).toContain('kill')
  })

  test('a longer stop grace does not outlast the lease', () => {
    ledger = fresh({ stopGraceMs: 600_000 })
    acceptAndRun('a')
    reply({ commands: [aStop('a')], leases: [aVerdict('a', 'keep')] })
    expect(undone('a')).toContain('terminate')
    now += 45_000 + LEASE_KILL_MS - 1
    expect(undone('a')).not.toContain('kill')
    ledger.plan(now - LEASE_KILL_MS + 1)
    now += LEASE_KILL_MS + 1
    expect(undone('a')).toContain('kill')
  })

  test('a reply that says nothing of a session does not renew it', () => {
    acceptAndRun('a')
    now += 40_000
    reply({})
    now += 5000
    expect(undone('a')).toContain('terminate')
  })

  test('the run may take its time from the start of the container, then it is timed out', () => {
    list()
    reply({ offers: [anOffer('a', { job: aJob({ timeout_seconds: 30 }) })] })
    now += 5000
    run('a')
    reply({ leases: [aVerdict('a', 'keep')] })
    now += 29_999
    expect(undone('a')).toEqual([])
    now += 1
    expect(undone('a')).toEqual(['journal', 'terminate'])
    see(exit('a', 143))
    expect(lease('a')?.exit).toMatchObject({ code: 143, reason: 'timed_out' })
  })

  test('a container that had ended before it was to be stopped keeps its own result', () => {
    acceptAndRun('a')
    now += 5000
    reply({ commands: [aStop('a')], leases: [aVerdict('a', 'keep')] })
    see(exit('a', 0, now - 2000))
    expect(lease('a')?.exit).toEqual({ code: 0, reason: 'exited' })
  })

  test('one that ends at the very signal was stopped by it, whatever a clock of another grain says', () => {
    acceptAndRun('a')
    reply({ commands: [aStop('a')], leases: [aVerdict('a', 'keep')] })
    see(exit('a', 143, now - 10))
    expect(lease('a')?.exit).toMatchObject({ code: 143, reason: 'stopped' })
  })
})

describe('orders to stop', () => {
  test('terminate, kill after the grace, and acknowledge only when the container has ended', () => {
    acceptAndRun('a')
    reply({ commands: [aStop('a')], leases: [aVerdict('a', 'keep')] })
    expect(undone('a')).toContain('terminate')
    expect(ledger.draft(now).acks).toEqual([])
    expect(lease('a')?.state).toBe('stopping')
    now += GRACE_MS
    expect(undone('a')).toContain('kill')
    expect(ledger.draft(now).acks).toEqual([])
    see(exit('a', 137))
    expect(ledger.draft(now).acks).toEqual([commandId('a')])
    expect(lease('a')?.exit).toMatchObject({ code: 137, reason: 'stopped' })
  })

  test('an acknowledgement is repeated until a reply no longer lists the command', () => {
    list()
    reply({ commands: [aStop('a')] })
    expect(ledger.draft(now).acks).toEqual([commandId('a')])
    reply({ commands: [aStop('a')] })
    expect(ledger.draft(now).acks).toEqual([commandId('a')])
    reply({})
    expect(ledger.draft(now).acks).toEqual([])
  })

  test('an unknown session is not acknowledged while a container of it may be unseen', () => {
    reply({ commands: [aStop('a')] })
    expect(ledger.draft(now).acks).toEqual([])
    list(running('a'))
    expect(ledger.draft(now).acks).toEqual([])
    expect(undone('a')).toContain('kill')
    see(exit('a', 137))
    expect(ledger.draft(now).acks).toEqual([commandId('a')])
  })

  test('a session that was reported as ended is not acknowledged while a container of it runs', () => {
    const restored = [anEntry('a', { step: 'creating' })]
    ledger = fresh({ restored, lastSync: { sentAtMs: 500, leaseTtlMs: 45_000 } })
    list()
    reply({ commands: [aStop('a')] })
    expect(ledger.draft(now).acks).toEqual([commandId('a')])
    list(running('a'))
    expect(ledger.draft(now).acks).toEqual([])
    see(exit('a', 137))
    expect(ledger.draft(now).acks).toEqual([commandId('a')])
  })

  test('a session stopped before its container was asked for never gets one', () => {
    list()
    reply({ offers: [anOffer('a')] })
    writeJournal()
    reply({ commands: [aStop('a')], leases: [aVerdict('a', 'keep')] })
    expect(lease('a')).toMatchObject({ state: 'exited', exit: { code: null, reason: 'stopped' } })
    expect(ledger.draft(now).acks).toEqual([commandId('a')])
    see({ type: 'prepared', session_id: sessionId('a'), image_digest: null })
    writeJournal()
    expect(undone('a')).toEqual([])
  })

  test('a session stopped while its container is being created waits for what comes of it, and never starts it', () => {
    list()
    reply({ offers: [anOffer('a')] })
    writeJournal()
    see({ type: 'prepared', session_id: sessionId('a'), image_digest: null })
    writeJournal()
    expect(undone('a')).toEqual(['create'])
    reply({ commands: [aStop('a')], leases: [aVerdict('a', 'keep')] })
    writeJournal()
    expect(undone('a')).toEqual(['terminate'])
    see({ type: 'created', session_id: sessionId('a') })
    expect(undone('a')).not.toContain('start')
    expect(ledger.draft(now).acks).toEqual([])
    see({ type: 'not_running', session_id: sessionId('a'), container: true })
    expect(ledger.draft(now).acks).toEqual([commandId('a')])
    reply({ leases: [aVerdict('a', 'forget')] })
    expect(undone('a')).toEqual(['remove'])
  })

  test('the control plane’s own timeout order names the exit so', () => {
    acceptAndRun('a')
    reply({ commands: [aStop('a', { reason: 'timeout' })], leases: [aVerdict('a', 'keep')] })
    see(exit('a', 143))
    expect(lease('a')?.exit?.reason).toBe('timed_out')
  })
})

describe('two attempts of one run', () => {
  const again = { run_id: runId('a'), attempt: 2 }

  test('the second is not begun while the first is being stopped', () => {
    acceptAndRun('a')
    reply({ commands: [aStop('a')], offers: [anOffer('b', again)], leases: [aVerdict('a', 'keep')] })
    writeJournal()
    expect(undone('b')).toEqual([])
    see(exit('a', 143))
    expect(undone('b')).toEqual(['prepare'])
  })

  test('nor while a container of the first, whose end was reported, turns out to run', () => {
    const restored = [anEntry('a', { step: 'creating' })]
    ledger = fresh({ restored, lastSync: { sentAtMs: 500, leaseTtlMs: 45_000 } })
    list()
    list(running('a'))
    reply({ offers: [anOffer('b', again)] })
    writeJournal()
    expect(undone('b')).toEqual([])
    see(exit('a', 137))
    expect(undone('b')).toEqual(['prepare'])
  })

  test('nor while something runs that may be the first, until a keep says that it is wanted', () => {
    list(running('c'))
    reply({ offers: [anOffer('b', again)] })
    writeJournal()
    expect(undone('b')).toEqual([])
    reply({ leases: [aVerdict('c', 'keep')] })
    expect(undone('b')).toEqual(['prepare'])
  })

  test('another run’s session is not waited for', () => {
    acceptAndRun('a')
    reply({ commands: [aStop('a')], offers: [anOffer('b')], leases: [aVerdict('a', 'keep')] })
    writeJournal()
    expect(undone('b')).toEqual(['prepare'])
  })
})

describe('verdicts', () => {
  test('an exit is reported until forget, and the container stays as long', () => {
    acceptAndRun('a')
    see(exit('a', 1))
    writeJournal()
    reply({ leases: [aVerdict('a', 'keep')] })
    now += 3_600_000
    expect(undone('a')).toEqual([])
    expect(lease('a')?.state).toBe('exited')
  })

  test('after forget the container goes first and the journal entry last', () => {
    acceptAndRun('a')
    see(exit('a', 1))
    reply({ leases: [aVerdict('a', 'forget')] })
    expect(undone('a')).toEqual(['remove'])
    see({ type: 'removed', session_id: sessionId('a') })
    expect(undone('a')).toEqual(['erase'])
    see({ type: 'erased', session_id: sessionId('a') })
    expect(ledger.draft(now).leases).toEqual([])
  })

  test('on stop the container ends before it is removed', () => {
    acceptAndRun('a')
    reply({ leases: [aVerdict('a', 'stop')] })
    expect(undone('a')).toEqual(['journal', 'terminate'])
    see(exit('a', 143))
    expect(undone('a')).toEqual(['remove'])
  })

  test('forget for something that still runs stops it first', () => {
    acceptAndRun('a')
    reply({ leases: [aVerdict('a', 'forget')] })
    expect(undone('a')).toContain('terminate')
  })
})

describe('after a restart', () => {
  const lastSync = { sentAtMs: 500, leaseTtlMs: 45_000 }

  test('an accepted entry without a container is resumed only after keep', () => {
    ledger = fresh({ restored: [anEntry('a')], lastSync })
    list()
    expect(undone('a')).toEqual([])
    expect(lease('a')?.state).toBe('accepted')
    reply({ leases: [aVerdict('a', 'keep')] })
    expect(undone('a')).toEqual(['prepare'])
  })

  test('an entry that may have created a container, without one, is reported and not run again', () => {
    ledger = fresh({ restored: [anEntry('a', { step: 'creating' })], lastSync })
    list()
    expect(lease('a')).toMatchObject({ state: 'exited', exit: { code: null, reason: 'engine_error' } })
    reply({ leases: [aVerdict('a', 'keep')] })
    writeJournal()
    expect(undone('a')).toEqual([])
  })

  test.each([
    ['in the middle of the create', null],
    ['so, although it was to be stopped', { reason: 'stopped', message: 'm' } as const],
  ])('what a daemon left that was killed %s is removed', (_, ending) => {
    ledger = fresh({ restored: [anEntry('a', { step: 'creating', ending })], lastSync })
    list()
    reply({ leases: [aVerdict('a', 'forget')] })
    expect(undone('a')).toEqual(['remove'])
    see({ type: 'removed', session_id: sessionId('a') })
    expect(undone('a')).toEqual(['erase'])
  })

  test('a created container is started only after keep', () => {
    ledger = fresh({ restored: [anEntry('a', { step: 'creating' })], lastSync })
    list(created('a'))
    writeJournal()
    expect(undone('a')).toEqual([])
    reply({ leases: [aVerdict('a', 'keep')] })
    expect(undone('a')).toEqual(['start'])
  })

  test('a running container is adopted and listed as such', () => {
    ledger = fresh({ restored: [anEntry('a', { step: 'created' })], lastSync })
    list(running('a'))
    expect(lease('a')).toMatchObject({ state: 'running', notices: ['adopted'] })
  })

  test('a running container that is being ended is not called adopted', () => {
    const ending = { reason: 'stopped', message: 'm' } as const
    ledger = fresh({ restored: [anEntry('a', { step: 'created', ending })], lastSync })
    list(running('a'))
    expect(lease('a')).toMatchObject({ state: 'stopping' })
    expect(lease('a')).not.toHaveProperty('notices')
    // Nor one whose lease ran out while no daemon was there.
    now = 500 + 45_000
    ledger = fresh({ restored: [anEntry('a', { step: 'created' })], lastSync })
    list(running('a'))
    ledger.plan(now)
    expect(lease('a')).toMatchObject({ state: 'stopping' })
    expect(lease('a')).not.toHaveProperty('notices')
  })

  test('an exited container gives its result', () => {
    ledger = fresh({ restored: [anEntry('a', { step: 'created' })], lastSync })
    list({ session_id: sessionId('a'), image_digest: null, state: 'exited', ...exitFacts(7) })
    expect(lease('a')).toMatchObject({ state: 'exited', exit: { code: 7 } })
  })

  test('an exit in the journal survives the loss of its container', () => {
    const ended = anEntry('a', { step: 'ended', exit: { code: null, reason: 'image_not_found' } })
    ledger = fresh({ restored: [ended], lastSync })
    list()
    expect(lease('a')).toMatchObject({ state: 'exited', exit: { reason: 'image_not_found' } })
  })

  test('a timeout in the journal still names the exit', () => {
    const ending = { reason: 'timed_out', message: 'too long' } as const
    ledger = fresh({ restored: [anEntry('a', { step: 'created', ending })], lastSync })
    list({ session_id: sessionId('a'), image_digest: null, state: 'exited', ...exitFacts(143) })
    expect(lease('a')?.exit).toMatchObject({ code: 143, reason: 'timed_out' })
  })

  test('the lease of the earlier process still ends when it would have', () => {
    ledger = fresh({ restored: [anEntry('a', { step: 'created' })], lastSync })
    list(running('a'))
    writeJournal()
    now = 45_499
    expect(undone('a')).toEqual([])
    now = 45_500
    expect(undone('a')).toContain('terminate')
  })

  test('what no later sync had confirmed still ends with its offer', () => {
    const offer = { sentAtMs: 500, deadlineMs: 20_500 }
    ledger = fresh({ restored: [anEntry('a', { step: 'created', offer })], lastSync })
    list(running('a'))
    now = 20_500
    expect(undone('a')).toContain('kill')
  })

  test('a running container that nothing is known about ends unless a keep comes at once', () => {
    list(running('a'))
    writeJournal()
    expect(lease('a')?.state).toBe('running')
    expect(undone('a')).toEqual([])
    now += FOUND_LEASE_MS
    expect(undone('a')).toEqual(['terminate'])
  })

  test('a container found without a journal entry is never started', () => {
    list(created('a'))
    reply({ leases: [aVerdict('a', 'keep')] })
    expect(undone('a')).toEqual([])
    expect(lease('a')).toMatchObject({ state: 'exited', exit: { reason: 'engine_error' } })
  })

  test('a container that turns up running after its end was reported is killed', () => {
    ledger = fresh({ restored: [anEntry('a', { step: 'creating' })], lastSync })
    list()
    writeJournal()
    list(running('a'))
    expect(undone('a')).toEqual(['kill'])
    reply({ leases: [aVerdict('a', 'forget')] })
    expect(undone('a')).toEqual(['kill'])
    expect(lease('a')?.exit?.reason).toBe('engine_error')
    see(exit('a', 137))
    expect(undone('a')).toEqual(['remove'])
    expect(ledger.session(sessionId('a'))?.phase).toMatchObject({ exit: { reason: 'engine_error' } })
  })
})

describe('what a former registration left', () => {
  const lastSync = { sentAtMs: 500, leaseTtlMs: 45_000 }
  const was = { installation_id: 'former', step: 'created' } as const

  function former(letter: string): Found {
    return { ...running(letter), isFormer: true }
  }

  test('is not reported, and ends with its lease while this one does not hold', () => {
    ledger = fresh({ restored: [anEntry('a', was)], lastSync })
    list(former('a'))
    writeJournal()
    expect(ledger.draft(now)).toMatchObject({ inventory: 'complete', leases: [] })
    expect(undone('a')).toEqual([])
    expect(ledger.nextDueAt()).toBe(45_500)
    now = 45_500
    expect(undone('a')).toContain('terminate')
    now += LEASE_KILL_MS
    expect(undone('a')).toContain('kill')
    see(exit('a', 137))
    expect(undone('a')).toEqual(['remove'])
  })

  test('ends at once when this one holds, and is removed without a verdict', () => {
    ledger = fresh({ restored: [anEntry('a', was)], lastSync })
    list(former('a'))
    ledger.join(now)
    expect(undone('a')).toEqual(['journal', 'terminate'])
    see(exit('a', 143))
    expect(undone('a')).toEqual(['remove'])
    see({ type: 'removed', session_id: sessionId('a') })
    expect(undone('a')).toEqual(['erase'])
    see({ type: 'erased', session_id: sessionId('a') })
    expect(ledger.isEmpty()).toBe(true)
  })

  test('holds its slot until it has ended', () => {
    ledger = fresh({ slotsMax: 1, restored: [anEntry('a', was)], lastSync })
    list(former('a'))
    ledger.join(now)
    reply({ offers: [anOffer('b')] })
    expect(lease('b')).toBeUndefined()
    see(exit('a', 143))
    reply({ offers: [anOffer('b')] })
    expect(lease('b')?.state).toBe('accepted')
  })

  test('is neither kept nor started by what this one’s control plane says', () => {
    ledger = fresh({ restored: [anEntry('a', { installation_id: 'former', step: 'creating' })], lastSync })
    list({ ...created('a'), isFormer: true })
    reply({ leases: [aVerdict('a', 'keep')] })
    writeJournal()
    expect(undone('a')).toEqual([])
    now = 45_500
    expect(undone('a')).toContain('terminate')
  })

  test('stays with its result as long as its lease, because the settings may be taken back', () => {
    const ended = anEntry('a', { ...was, step: 'ended', exit: { code: 0, reason: 'exited' } })
    ledger = fresh({ restored: [ended], lastSync })
    list()
    expect(undone('a')).toEqual([])
    expect(ledger.nextDueAt()).toBe(45_500)
    now = 45_500
    expect(undone('a')).toEqual(['remove'])
  })

  test('is asked to end although this Engine does not list it', () => {
    ledger = fresh({ restored: [anEntry('a', was)], lastSync })
    list()
    ledger.join(now)
    expect(undone('a')).toContain('terminate')
    see({ type: 'not_running', session_id: sessionId('a'), container: false })
    expect(undone('a')).toEqual(['erase'])
  })

  test('ends although nothing is remembered of it', () => {
    list(former('a'))
    expect(ledger.draft(now).leases).toEqual([])
    ledger.join(now)
    expect(undone('a')).toEqual(['terminate'])
    list({ ...created('b'), isFormer: true })
    expect(undone('b')).toEqual(['remove'])
  })
})

describe('inventory', () => {
  test('it is complete only after a full listing, and unknown again when one fails', () => {
    expect(ledger.draft(now)).toMatchObject({ inventory: 'unknown', draining: true })
    list()
    expect(ledger.draft(now)).toMatchObject({ inventory: 'complete', draining: false })
    see({ type: 'listing_failed' })
    expect(ledger.draft(now)).toMatchObject({ inventory: 'unknown', draining: true })
  })

  test('offers are not taken while it is unknown', () => {
    reply({ offers: [anOffer('a')] })
    expect(ledger.draft(now).leases).toEqual([])
  })

  test('remembered sessions are listed before the first listing, so that they are renewed', () => {
    ledger = fresh({ restored: [anEntry('a', { step: 'created' })] })
    expect(lease('a')?.state).toBe('starting')
  })

  test('a container that others removed ends its session', () => {
    acceptAndRun('a')
    now += 1
    list()
    expect(lease('a')).toMatchObject({ state: 'exited', exit: { reason: 'engine_error' } })
  })

  test('a listing begun before the container was there says nothing about it', () => {
    acceptAndRun('a')
    see({ type: 'listing', asOfMs: now - 1, found: [] })
    expect(lease('a')?.state).toBe('running')
  })
})

describe('leaving', () => {
  test('a leaving runner stops nothing, starts nothing and takes nothing', () => {
    acceptAndRun('a')
    reply({ offers: [anOffer('b')], leases: [aVerdict('a', 'keep')] })
    writeJournal()
    expect(undone('b')).toEqual(['prepare'])
    ledger.leave()
    expect(undone('a')).toEqual([])
    expect(undone('b')).toEqual([])
    reply({ offers: [anOffer('c')], leases: [aVerdict('a', 'keep'), aVerdict('b', 'keep')] })
    expect(lease('c')).toBeUndefined()
    expect(ledger.draft(now)).toMatchObject({ leaving: true, draining: true })
  })

  test('a halted runner ends everything and takes nothing again', () => {
    acceptAndRun('a')
    ledger.halt('the credential was refused', now)
    expect(undone('a')).toContain('terminate')
    now += GRACE_MS
    expect(undone('a')).toContain('kill')
    see(exit('a', 137))
    expect(lease('a')?.exit).toMatchObject({ reason: 'stopped', message: 'the credential was refused' })
    reply({ offers: [anOffer('b')] })
    expect(lease('b')).toBeUndefined()
  })

  test('what turns up after the halt ends too', () => {
    ledger.halt('superseded', now)
    list(running('a'))
    expect(undone('a')).toContain('terminate')
  })
})

/** One that has ended and that nobody has heard of yet. */
function endAsFailed(number: number): string {
  const session_id = `ses_${String(number).padStart(26, '0')}`
  reply({ offers: [anOffer('a', { session_id })] })
  const failed = { code: null, reason: 'image_not_found', message: 'm'.repeat(200) } as const
  see({ type: 'failed', session_id, exit: failed, container: false })
  return session_id
}

function exitFacts(code: number) {
  return {
    exit: { code, reason: 'exited' as const },
    started_at: STARTED,
    finished_at: STARTED,
    finishedAtMs: now,
    notices: [],
  }
}

describe('what is reported', () => {
  test.each([
    ['back', -86_400_000],
    ['ahead', 86_400_000],
  ])('a start is believed once: a wall clock set %s neither ends nor prolongs a run', (_, stepMs) => {
    const startedMs = now
    acceptAndRun('a')
    const started_at = '2026-11-24T00:00:01Z'
    list({ ...running('a'), state: 'running', startedAtMs: startedMs + stepMs, started_at })
    see({ type: 'running', session_id: sessionId('a'), startedAtMs: startedMs + stepMs, started_at })
    expect(lease('a')).toMatchObject({ state: 'running', started_at: STARTED })
    const timeoutAtMs = startedMs + aJob().timeout_seconds * 1000
    for (now = startedMs; now < timeoutAtMs; now += 30_000) reply({ leases: [aVerdict('a', 'keep')] })
    now = timeoutAtMs - 1
    expect(undone('a')).toEqual([])
    expect(ledger.nextDueAt()).toBe(timeoutAtMs)
    now = timeoutAtMs
    expect(undone('a')).toEqual(['journal', 'terminate'])
  })

  test('what was forgotten and only waits for its uploads is listed no more, and crowds nobody out', () => {
    list()
    for (let number = 0; number <= SYNC_LEASE_LIMIT; number++) {
      const session_id = endAsFailed(number)
      reply({ leases: [{ session_id, verdict: 'forget' }] })
    }
    reply({ offers: [anOffer('a')] })
    const { inventory, leases } = ledger.draft(now)
    expect([inventory, leases.map(one => one.session_id)]).toEqual(['complete', [sessionId('a')]])
  })

  test('of more than a sync has room for the living come first, and the inventory is not called complete', () => {
    list()
    for (let number = 0; number < SYNC_LEASE_LIMIT; number++) endAsFailed(number)
    reply({ offers: [anOffer('a')] })
    const { inventory, leases } = ledger.draft(now)
    expect([inventory, leases[0]?.session_id]).toEqual(['unknown', sessionId('a')])
    expect(leases.length).toBeGreaterThan(100)
    expect(JSON.stringify(leases).length).toBeLessThan(BODY_LIMIT_BYTES)
  })

  test.each([
    ['back', -7_200_000],
    ['ahead', 7_200_000],
  ])(
    'nor does one set %s between two daemons: the start is journaled on the clock that both share',
    (_, stepMs) => {
      const startedMs = now
      acceptAndRun('a')
      const left = ledger.session(sessionId('a'))?.durable
      const restored = left === null || left === undefined ? [] : [left]
      now += 60_000
      ledger = fresh({ restored, lastSync: { sentAtMs: now, leaseTtlMs: 45_000 } })
      const started_at = '2026-11-24T00:00:01Z'
      list({ ...running('a'), state: 'running', startedAtMs: startedMs + stepMs, started_at })
      expect(lease('a')).toMatchObject({ state: 'running', started_at: STARTED })
      expect(undone('a')).toEqual([])
      const timeoutAtMs = startedMs + aJob().timeout_seconds * 1000
      for (; now < timeoutAtMs; now += 30_000) reply({ leases: [aVerdict('a', 'keep')] })
      expect(ledger.nextDueAt()).toBe(timeoutAtMs)
    },
  )

  test('an exit’s message is cut, whole characters only', () => {
    acceptAndRun('a')
    const failed = {
      code: null,
      reason: 'engine_error',
      message: `${'x'.repeat(999)}😀${'y'.repeat(9000)}`,
    } as const
    see({ type: 'failed', session_id: sessionId('a'), exit: failed, container: false })
    const message = lease('a')?.exit?.message
    expect(message).toHaveLength(1000)
    expect(message?.isWellFormed()).toBe(true)
  })
})
