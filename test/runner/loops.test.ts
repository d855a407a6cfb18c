import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { SyncRequest, SyncResponse } from '../../protocol/runner-api.ts'
import { VERSION } from '../../protocol/version.ts'
import type { ApiFailure, ApiResult } from '../../runner/api/client.ts'
import { sleep } from '../../runner/clock.ts'
import { diskLoop } from '../../runner/daemon/disk-loop.ts'
import { inventoryLoop } from '../../runner/daemon/inventory-loop.ts'
import { leavingLoop } from '../../runner/daemon/leaving.ts'
import { SessionLedger } from '../../runner/daemon/ledger.ts'
import { SessionLoop, type SessionLoopParts } from '../../runner/daemon/session-loop.ts'
import { SyncLoop, type SyncLoopParts } from '../../runner/daemon/sync-loop.ts'
import type { Executor } from '../../runner/executors/executor.ts'
import { Latch } from '../../runner/latch.ts'
import type { LastSync, Observation } from '../../runner/session-types.ts'
import { SettingsError } from '../../runner/settings-error.ts'
import { STOP_LIMIT_MS, supervise } from '../../runner/supervisor.ts'
import { NO_METRICS } from '../../runner/telemetry/instruments.ts'
import {
  anEntry,
  anOffer,
  aReply,
  aVerdict,
  INSTALLATION,
  NOTHING_TO_COLLECT,
  runId,
  sessionId,
} from './support/factories.ts'
import { removeDirectory, temporaryDirectory, until } from './support/runner-process.ts'

/** Single loops of the daemon, with whatever is around them played by the test. */

let nowMs = 1000
const clock = { now: () => nowMs, wallMs: () => nowMs }

function aLedger(slotsMax = 2): SessionLedger {
  const ledger = new SessionLedger({
    installationId: INSTALLATION,
    slotsMax,
    stopGraceMs: 60_000,
    restored: [],
    lastSync: null,
  })
  ledger.observe({ type: 'listing', asOfMs: nowMs, found: [] }, nowMs)
  return ledger
}

function aLog() {
  return { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn(), fatal: vi.fn(), child: vi.fn() }
}

type Answer = (request: SyncRequest, timeoutMs: number | undefined) => Promise<ApiResult<SyncResponse>>

function syncing(ledger: SessionLedger, answer: Answer, leaseTtlMs = Number.POSITIVE_INFINITY) {
  const log = aLog()
  const requests: SyncRequest[] = []
  const stored: LastSync[] = []
  const applied = vi.fn()
  const membership = { identity: { poolId: 'p', runnerId: 'r', credential: 'c' } }
  const sync = async (request: SyncRequest, timeoutMs: number | undefined) => {
    requests.push(request)
    const said = await answer(request, timeoutMs)
    return said.ok ? { ...said, value: { ...said.value, ignored: [] } } : said
  }
  const parts = {
    api: { sync: (_who: unknown, body: SyncRequest, _signal: unknown, ms?: number) => sync(body, ms) },
    membership,
    ledger,
    state: { storeLastSync: async (sync: LastSync) => void stored.push(sync) },
    clock,
    log,
    boot: 1,
    bootId: 'b',
    leaseTtlMs,
    health: async () => ({}),
    about: {},
    onApplied: applied,
    onFailure: () => undefined,
    metrics: NO_METRICS,
  } as unknown as SyncLoopParts
  return { loop: new SyncLoop(parts), log, requests, stored, applied, membership }
}

function refusal(
  code: 'not_found' | 'payload_too_large' | 'overloaded' | 'unauthenticated',
  status: number,
  retryAfterMs = 0,
): { ok: false; failure: ApiFailure } {
  const problem = { type: 't', title: 't', status, code, detail: 'd', request_id: 'r' }
  return { ok: false, failure: { kind: 'refused', problem, retryAfterMs } }
}

/** One session, restored, so that the loop holds a lease from its first call on. */
function holdingOne(): SessionLedger {
  const restored = [anEntry('a', { step: 'created' })]
  const options = { installationId: INSTALLATION, slotsMax: 2, stopGraceMs: 60_000, lastSync: null }
  return new SessionLedger({ ...options, restored })
}

/** @returns the pauses before each repeat, as they are logged, with a jitter that takes all of them */
async function pausesOf({ loop, log }: ReturnType<typeof syncing>, repeats: number): Promise<number[]> {
  const random = vi.spyOn(Math, 'random').mockReturnValue(1)
  const stop = new AbortController()
  const running = loop.run(stop.signal)
  // Said once, and then for those who look into it.
  const lines = () => [...log.warn.mock.calls, ...log.debug.mock.calls]
  await until('so many repeats', () => lines().length > repeats)
  stop.abort()
  await running
  random.mockRestore()
  return lines()
    .slice(0, repeats)
    .map(([line]) => line.retry_in_ms)
}

const UNREACHABLE = { ok: false, failure: { kind: 'unreachable', detail: 'cut' } } as const

test('while leases are held no pause is longer than a quarter of them, however often a sync has failed', async () => {
  let isFirst = true
  const host = syncing(holdingOne(), async () => {
    if (!isFirst) return UNREACHABLE
    isFirst = false
    return { ok: true, value: aReply({ lease_ttl_ms: 1000, next_sync_in_ms: 1 }) }
  })
  expect(await pausesOf(host, 5)).toEqual([250, 250, 250, 250, 250])
})

test('the leases that an earlier process held bound the first calls too', async () => {
  const limits: (number | undefined)[] = []
  const answer: Answer = async (_request, timeoutMs) => {
    limits.push(timeoutMs)
    return UNREACHABLE
  }
  expect(await pausesOf(syncing(holdingOne(), answer, 1000), 3)).toEqual([250, 250, 250])
  expect(limits[0]).toBe(1000)
})

test('without leases the pauses grow', async () => {
  expect(
    await pausesOf(
      syncing(aLedger(), async () => UNREACHABLE, 1000),
      3,
    ),
  ).toEqual([500, 1000, 2000])
})

test('a control plane that asks for an hour is given a quarter of the leases, and without leases a minute', async () => {
  const answer: Answer = async () => refusal('overloaded', 503, 3_600_000)
  const holding = syncing(holdingOne(), answer, 1000)
  expect(await pausesOf(holding, 3)).toEqual([250, 250, 250])
  expect(holding.requests.length).toBeGreaterThan(2)
  const { loop, log } = syncing(aLedger(), answer)
  const stop = new AbortController()
  const running = loop.run(stop.signal)
  await until('a refusal', () => log.warn.mock.calls.length === 1)
  stop.abort()
  await running
  expect(log.warn.mock.calls[0]?.[0]).toMatchObject({ retry_in_ms: 60_000 })
})

test('a lease time that does not divide evenly gives a call a whole number of milliseconds', async () => {
  const limits: (number | undefined)[] = []
  const stop = new AbortController()
  const { loop } = syncing(aLedger(), async (_request, timeoutMs) => {
    limits.push(timeoutMs)
    return { ok: true, value: aReply({ lease_ttl_ms: 5001, next_sync_in_ms: 1 }) }
  })
  const running = loop.run(stop.signal)
  await until('two syncs', () => limits.length >= 2)
  stop.abort()
  await running
  expect(limits[1]).toBe(1250)
})

test('a sync already on its way when the signal came does not count as the one that says leaving', async () => {
  const ledger = aLedger()
  let answerFirst: () => void = () => undefined
  const first = new Promise<void>(resolve => {
    answerFirst = resolve
  })
  const stop = new AbortController()
  let heardLeaving = false
  const { loop, requests } = syncing(ledger, async request => {
    if (requests.length === 1) await first
    // Long enough for a process that does not wait for it to be gone.
    else await sleep(300)
    heardLeaving ||= request.leaving === true
    return { ok: true, value: aReply({ next_sync_in_ms: 60_000 }) }
  })
  const running = loop.run(stop.signal)
  await until('the first sync', () => requests.length === 1)
  const leave = new AbortController()
  leave.abort()
  const signals = { leave: leave.signal, halt: new AbortController().signal }
  const sessions = { wake: () => undefined, isBusy: () => false } as unknown as SessionLoop
  const parts = { ledger, sessions, sync: loop, signals, stopGraceMs: 1000, clock, isHeard: () => true }
  const leaving = leavingLoop(parts, stop.signal)
  await sleep(20)
  answerFirst()
  await leaving
  expect(heardLeaving).toBe(true)
  stop.abort()
  await running
})

test('a second signal stops the sessions also while the process only waits for what is in flight', async () => {
  const ledger = holdingOne()
  ledger.observe({ type: 'listing', asOfMs: nowMs, found: [] }, nowMs)
  ledger.end(sessionId('a'), 'stopped', 'the test says so', nowMs)
  let isBusy = true
  const halting = new AbortController()
  const leave = AbortSignal.abort()
  const sessions = { wake: () => undefined, isBusy: () => isBusy } as unknown as SessionLoop
  const sync = { ring: () => undefined, hasSaidLeaving: () => true }
  const signals = { leave, halt: halting.signal }
  const halt = vi.spyOn(ledger, 'halt')
  const isHeard = () => false
  const leaving = leavingLoop(
    { ledger, sessions, sync, signals, stopGraceMs: 0, clock, isHeard },
    new AbortController().signal,
  )
  // Nothing lives, so there is nothing to wait for but the call in flight.
  await sleep(200)
  expect(halt).not.toHaveBeenCalled()
  halting.abort()
  await until('the halt', () => halt.mock.calls.length === 1)
  isBusy = false
  await leaving
})

test('a sync that is too large says how large, and is not repeated as it was', async () => {
  const message = 'm'.repeat(1000)
  const restored = [anEntry('a', { step: 'ended', exit: { code: 1, reason: 'exited', message } })]
  const ledger = new SessionLedger({
    installationId: INSTALLATION,
    slotsMax: 2,
    stopGraceMs: 1000,
    restored,
    lastSync: null,
  })
  const stop = new AbortController()
  const { loop, log, requests } = syncing(ledger, async () => refusal('payload_too_large', 413))
  const running = loop.run(stop.signal)
  await until('two syncs', () => requests.length >= 2)
  stop.abort()
  await running
  expect(requests[0]?.leases[0]?.exit?.message).toBe(message)
  expect(requests[1]?.leases[0]?.exit).toEqual({ code: 1, reason: 'exited' })
  expect(log.error.mock.calls[0]?.[0]).toMatchObject({ leases: 1, bytes: expect.any(Number) })
})

test('a pool that is gone is said with what to do about it', async () => {
  const stop = new AbortController()
  const { loop, log, requests } = syncing(aLedger(), async () => refusal('not_found', 404))
  const running = loop.run(stop.signal)
  await until('a sync', () => requests.length >= 1 && log.error.mock.calls.length > 0)
  stop.abort()
  await running
  expect(log.error.mock.calls[0]?.[0]).toMatchObject({
    remedy: expect.stringMatching(/pool was deleted.*RUNNER_POOL_ID/),
  })
})

test('every deadline counts from when the sync was sent, however long its reply takes', async () => {
  const ledger = holdingOne()
  const stop = new AbortController()
  const sentAtMs = nowMs
  const { loop, stored, applied } = syncing(ledger, async () => {
    nowMs = sentAtMs + 7000
    const leases = [aVerdict('a', 'keep')]
    return { ok: true, value: aReply({ leases, lease_ttl_ms: 45_000, next_sync_in_ms: 60_000 }) }
  })
  const running = loop.run(stop.signal)
  await until('a reply', () => applied.mock.calls.length === 1)
  stop.abort()
  await running
  expect(ledger.session(sessionId('a'))?.deadlineMs).toBe(sentAtMs + 45_000)
  expect(stored).toEqual([{ sentAtMs, leaseTtlMs: 45_000 }])
})

test('a stale reply counts for nothing: no deadline, nothing on disk, not as said', async () => {
  const ledger = holdingOne()
  ledger.leave()
  const stop = new AbortController()
  const { loop, requests, stored, applied } = syncing(ledger, async () => {
    return { ok: true, value: aReply({ stale: true, leases: [aVerdict('a', 'keep')] }) }
  })
  const running = loop.run(stop.signal)
  await until('another sync', () => requests.length >= 2)
  stop.abort()
  await running
  expect(ledger.session(sessionId('a'))?.confirmed).toBe(false)
  expect(stored).toEqual([])
  expect(applied).not.toHaveBeenCalled()
  expect([loop.appliedCount(), loop.hasSaidLeaving()]).toEqual([0, false])
})

test('a refusal of a credential that was replaced while the sync was on its way ends nothing', async () => {
  const stop = new AbortController()
  const host = syncing(aLedger(), async () => {
    if (host.requests.length === 1)
      host.membership.identity = { ...host.membership.identity, credential: 'd' }
    return refusal('unauthenticated', 401)
  })
  expect(await host.loop.run(stop.signal)).toMatchObject({ code: 'unauthenticated' })
  expect(host.requests).toHaveLength(2)
})

test('a stopped daemon does not wait for a loop that hangs', async () => {
  const stop = new AbortController()
  const began = performance.now()
  const ended = supervise([() => new Promise(() => undefined), async () => undefined], stop.signal)
  stop.abort()
  await ended
  expect(performance.now() - began).toBeLessThan(STOP_LIMIT_MS + 1000)
})

function listing(executor: Pick<Executor, 'ready' | 'list'>) {
  const stop = new AbortController()
  const seen: Observation[] = []
  const log = aLog()
  const doubt = new Latch()
  const observe = (one: Observation) => void seen.push(one)
  const parts = { executor: executor as Executor, clock, log, doubt, observe }
  return { ended: inventoryLoop(parts, stop.signal), stop, seen, log, doubt }
}

test('an Engine that hangs does not keep the listing from ending', async () => {
  const { ended, stop, seen } = listing({ ready: () => new Promise(() => undefined), list: async () => [] })
  stop.abort()
  await ended
  expect(seen).toEqual([])
})

test('a setting that stops to fit ends nothing: the inventory is unknown and the line says why', async () => {
  let network = true
  const { ended, stop, seen, log, doubt } = listing({
    ready: async () => {
      if (!network) throw new SettingsError('RUNNER_POLICY_FILE: no such network: jobs')
    },
    list: async () => [],
  })
  await until('a listing', () => seen.length === 1)
  network = false
  doubt.raise()
  await until('a failed listing', () => seen.at(-1)?.type === 'listing_failed')
  expect(log.error.mock.calls[0]?.[0]).toMatchObject({ error: expect.stringMatching(/no such network/) })
  network = true
  doubt.raise()
  await until('another listing', () => seen.at(-1)?.type === 'listing')
  stop.abort()
  await ended
})

test('a setting that never fitted ends the loop', async () => {
  const { ended } = listing({
    ready: async () => {
      throw new SettingsError('RUNNER_POLICY_FILE: no such network: jobs')
    },
    list: async () => [],
  })
  await expect(ended).rejects.toThrow('no such network')
})

interface Around {
  readonly removeSessionFolder?: () => Promise<void>
  readonly eraseEntry?: () => Promise<void>
  readonly collecting?: Partial<SessionLoopParts['collecting']>
  readonly onDoubt?: () => void
}

function sessionLoop(ledger: SessionLedger, executor: object, around: Around = {}) {
  const { removeSessionFolder = async () => undefined, eraseEntry = async () => undefined } = around
  const log = aLog()
  const parts = {
    ledger,
    executor,
    state: { journal: { write: async () => undefined, erase: eraseEntry }, removeSessionFolder },
    collecting: { ...NOTHING_TO_COLLECT, ...around.collecting },
    clock,
    log,
    onChange: () => undefined,
    onDoubt: around.onDoubt ?? (() => undefined),
    metrics: NO_METRICS,
  } as unknown as SessionLoopParts
  const sessions = new SessionLoop(parts)
  const stop = new AbortController()
  const running = sessions.run(stop.signal)
  const end = async () => {
    stop.abort()
    await running
  }
  return { sessions, end, log }
}

const A = sessionId('a')

test('after a SIGTERM that shows no effect the loop rests until something is due', async () => {
  const ledger = aLedger()
  ledger.applyReply(aReply({ offers: [anOffer('a')] }), nowMs, nowMs)
  ledger.observe({ type: 'prepared', session_id: A, image_digest: null }, nowMs)
  ledger.observe({ type: 'created', session_id: A }, nowMs)
  const started = { startedAtMs: nowMs, started_at: '2026-11-23T00:00:01Z' }
  ledger.observe({ type: 'running', session_id: A, ...started }, nowMs)
  const signalled: string[] = []
  const { sessions, end } = sessionLoop(ledger, {
    signal: async (_id: string, name: string) => {
      signalled.push(name)
      return { type: 'signalled' }
    },
    wait: () => new Promise(() => undefined),
  })
  ledger.end(A, 'stopped', 'the test says so', nowMs)
  sessions.wake()
  await until('a SIGTERM', () => signalled.length === 1)
  nowMs += 3_000
  const plan = vi.spyOn(ledger, 'plan')
  sessions.wake()
  await sleep(400)
  await end()
  expect(plan.mock.calls.length).toBeLessThan(5)
  expect(signalled).toEqual(['SIGTERM'])
})

test('an agent image of another release line is said, once, and reported', async () => {
  const ledger = aLedger(8)
  const { sessions, end, log } = sessionLoop(ledger, { prepare: () => new Promise(() => undefined) })
  const prepare = (letter: string, image: string, agent_version: string | null) => {
    const offer = anOffer(letter)
    ledger.applyReply(aReply({ offers: [{ ...offer, job: { ...offer.job, image } }] }), nowMs, nowMs)
    sessions.observe({
      type: 'prepared',
      session_id: offer.session_id,
      image_digest: null,
      agent_version,
    })
  }
  const warnings = () =>
    log.warn.mock.calls.flatMap(([line, what]) => (what.includes('another release line') ? [line] : []))
  prepare('a', 'acme/base:1', null)
  expect(ledger.draft(nowMs)).not.toHaveProperty('agent_version')
  prepare('b', 'certyn/agent:v0.1.9', '0.1.9')
  expect(warnings()).toEqual([])
  prepare('c', 'certyn/agent:v9.0.0', '9.0.0')
  prepare('d', 'certyn/agent:v9.0.0', '9.0.0')
  expect(warnings()).toMatchObject([
    { image: 'certyn/agent:v9.0.0', agent_version: '9.0.0', runner_version: VERSION },
  ])
  prepare('e', 'certyn/agent:v9.0.1', '9.0.1')
  expect(warnings()).toHaveLength(2)
  prepare('f', 'acme/base:1', null)
  expect(ledger.draft(nowMs)).toMatchObject({ agent_version: '9.0.1' })
  await end()
})

test('a machine that was suspended past a deadline kills at once, whatever its timers say', async () => {
  const ledger = aLedger()
  ledger.applyReply(aReply({ offers: [anOffer('a', { offer_ttl_ms: 600_000 })] }), nowMs, nowMs)
  ledger.observe({ type: 'prepared', session_id: A, image_digest: null }, nowMs)
  ledger.observe({ type: 'created', session_id: A }, nowMs)
  const started = { startedAtMs: nowMs, started_at: '2026-11-23T00:00:01Z' }
  ledger.observe({ type: 'running', session_id: A, ...started }, nowMs)
  const signalled: string[] = []
  const { end } = sessionLoop(ledger, {
    signal: async (_id: string, name: string) => {
      signalled.push(name)
      return { type: 'signalled' }
    },
    wait: () => new Promise(() => undefined),
  })
  // What the loop has to write is written, and it waits.
  await sleep(100)
  nowMs += 900_000
  await until('a SIGKILL', () => signalled.length > 0)
  expect(signalled).toEqual(['SIGKILL'])
  await end()
})

test('a signal to what nobody waits for is followed by a listing, which has to show its end', async () => {
  const restored = [anEntry('a', { step: 'creating' })]
  const options = { installationId: INSTALLATION, slotsMax: 2, stopGraceMs: 60_000, lastSync: null }
  const ledger = new SessionLedger({ ...options, restored })
  ledger.observe({ type: 'listing', asOfMs: nowMs, found: [] }, nowMs)
  ledger.observe({ type: 'running', session_id: A, startedAtMs: nowMs, started_at: '' }, nowMs)
  let doubts = 0
  const onDoubt = () => {
    doubts += 1
  }
  const { end } = sessionLoop(ledger, { signal: async () => ({ type: 'signalled' }) }, { onDoubt })
  await until('a listing', () => doubts > 0)
  await end()
})

test('a start that failed a moment ago does not keep a SIGKILL waiting', async () => {
  const ledger = aLedger()
  ledger.applyReply(aReply({ offers: [anOffer('a')] }), nowMs, nowMs)
  ledger.observe({ type: 'prepared', session_id: A, image_digest: null }, nowMs)
  ledger.observe({ type: 'created', session_id: A }, nowMs)
  let starts = 0
  const { sessions, end } = sessionLoop(ledger, {
    start: async () => {
      starts += 1
      throw new Error('connect ECONNREFUSED')
    },
    signal: async () => ({ type: 'not_running', container: false }),
  })
  await until('a failed start', () => starts === 1)
  // The clock stands still, so that no pause after a failure is ever over.
  ledger.halt('the test says so', nowMs - 60_000)
  sessions.wake()
  await until('the end', () => ledger.liveCount() === 0)
  await end()
})

test('what goes on failing is said with its session, its run and a remedy, and again every few minutes', async () => {
  const ledger = aLedger()
  ledger.applyReply(aReply({ offers: [anOffer('a', { offer_ttl_ms: 3_600_000 })] }), nowMs, nowMs)
  ledger.observe({ type: 'prepared', session_id: A, image_digest: null }, nowMs)
  let creates = 0
  const { sessions, end, log } = sessionLoop(ledger, {
    create: async () => {
      creates += 1
      throw new Error('connect ECONNREFUSED')
    },
  })
  for (const stepMs of [10_000, 10_000, 300_000]) {
    const before = creates
    await until('a failed create', () => creates > before)
    nowMs += stepMs
    sessions.wake()
  }
  await until('the second line', () => log.warn.mock.calls.length === 2)
  await end()
  const line = {
    session_id: A,
    run_id: runId('a'),
    failures: 1,
    remedy: expect.stringMatching(/Docker Engine/),
  }
  expect(log.warn.mock.calls).toMatchObject([
    [line, 'cannot create the session'],
    [{ ...line, failures: 4 }, 'cannot create the session'],
  ])
})

test('the end of a watch on what is no longer running is no news', async () => {
  const ledger = aLedger()
  ledger.applyReply(aReply({ offers: [anOffer('a')] }), nowMs, nowMs)
  ledger.observe({ type: 'prepared', session_id: A, image_digest: null }, nowMs)
  ledger.observe({ type: 'created', session_id: A }, nowMs)
  ledger.observe({ type: 'running', session_id: A, startedAtMs: nowMs, started_at: '' }, nowMs)
  let isWatched = false
  let hasFailed = false
  const { sessions, end, log } = sessionLoop(ledger, {
    wait: async (_id: string, abort: AbortSignal) => {
      isWatched = true
      await new Promise(resolve => abort.addEventListener('abort', resolve, { once: true }))
      hasFailed = true
      throw new Error('no such container')
    },
    remove: async () => undefined,
  })
  await until('a watch', () => isWatched)
  nowMs += 1
  sessions.observe({ type: 'listing', asOfMs: nowMs, found: [] })
  ledger.applyReply(aReply({ leases: [aVerdict('a', 'forget')] }), nowMs, nowMs)
  sessions.wake()
  await until('nothing is left', () => ledger.isEmpty() && hasFailed)
  await end()
  expect(log.warn).not.toHaveBeenCalled()
})

test('what was given up is not heard, and the folder stays until it can no longer write there', async () => {
  const ledger = aLedger()
  ledger.applyReply(aReply({ offers: [anOffer('a')] }), nowMs, nowMs)
  ledger.observe({ type: 'prepared', session_id: A, image_digest: null }, nowMs)
  let comeBack: () => void = () => undefined
  let isErased = false
  let isAsked = false
  const { sessions, end } = sessionLoop(
    ledger,
    {
      create: async () => {
        isAsked = true
        await new Promise<void>(resolve => {
          comeBack = resolve
        })
        return { type: 'created' }
      },
      signal: async () => ({ type: 'not_running', container: false }),
    },
    {
      removeSessionFolder: async () => {
        isErased = true
      },
    },
  )
  await until('a create', () => isAsked)
  ledger.halt('the test says so', nowMs - 60_000)
  sessions.wake()
  await until('the end', () => ledger.liveCount() === 0)
  ledger.applyReply(aReply({ leases: [aVerdict('a', 'forget')] }), nowMs, nowMs)
  sessions.wake()
  await sleep(100)
  expect(isErased).toBe(false)
  comeBack()
  await until('nothing is left', () => ledger.isEmpty())
  expect(isErased).toBe(true)
  await end()
})

test('a session that is being erased is not collected from again, also when that takes two tries', async () => {
  const ledger = aLedger()
  ledger.applyReply(aReply({ offers: [anOffer('a')] }), nowMs, nowMs)
  ledger.end(A, 'stopped', 'the test says so', nowMs)
  ledger.applyReply(aReply({ leases: [aVerdict('a', 'forget')] }), nowMs, nowMs)
  const collected: string[] = []
  const note = (what: string) => () => void collected.push(what)
  let erasures = 0
  const { sessions, end } = sessionLoop(
    ledger,
    {},
    {
      eraseEntry: async () => {
        erasures += 1
        for (let wakes = 0; wakes < 3; wakes++) {
          sessions.wake()
          await sleep(10)
        }
        if (erasures === 1) throw new Error('EIO')
        nowMs += 1
      },
      collecting: { watch: note('watched'), forget: async () => note('forgotten')() },
    },
  )
  await until('the first try', () => erasures === 1)
  sessions.wake()
  await sleep(50)
  nowMs += 60_000
  await until('nothing is left', () => ledger.isEmpty())
  await end()
  expect(erasures).toBe(2)
  expect(collected.slice(collected.indexOf('forgotten'))).toEqual(['forgotten', 'forgotten'])
})

describe('the size of the folders of running sessions', () => {
  let directory: string
  beforeEach(() => {
    directory = temporaryDirectory()
  })
  afterEach(() => removeDirectory(directory))

  /** @returns what one round of looks ends, with its reasons */
  async function ended(limitMb: number | null, folderOf = (id: string) => join(directory, id)) {
    const ends: string[][] = []
    const log = aLog()
    const end = (id: string, reason: string, message: string) => void ends.push([id, reason, message])
    const ledger = { runningIds: () => ['large', 'small'], end }
    const stop = new AbortController()
    const parts = { ledger, folderOf, limitMb, clock, log, onChange: () => undefined }
    const looking = diskLoop(parts, stop.signal)
    stop.abort()
    await looking
    return { ends, log }
  }
  function fill(): void {
    for (const [id, bytes] of [
      ['large', 1_100_000],
      ['small', 900_000],
    ] as const) {
      mkdirSync(join(directory, id))
      writeFileSync(join(directory, id, 'file'), Buffer.alloc(bytes, 1))
    }
  }

  test('one that outgrows the limit ends its session, and no other', async () => {
    fill()
    const { ends } = await ended(1)
    expect(ends).toEqual([['large', 'disk_full', expect.stringMatching(/RUNNER_SESSION_DISK_MB 1$/)]])
  })

  test('without a limit nothing is looked at', async () => {
    fill()
    expect((await ended(null)).ends).toEqual([])
  })

  test('one that cannot be taken now ends nothing, and is said', async () => {
    const tooLong = () => join(directory, 'x'.repeat(5_000))
    const { ends, log } = await ended(1, tooLong)
    expect(ends).toEqual([])
    expect(log.warn.mock.calls[0]?.[0]).toMatchObject({ error: expect.stringMatching(/ENAMETOOLONG/) })
  })
})
