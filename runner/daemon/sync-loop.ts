import type { Health, LeaseReport, SyncRequest, SyncResponse } from '../../protocol/runner-api.ts'
import { RUNNER_PROTOCOL } from '../../protocol/version.ts'
import { backoffMs, floorMs, pauseCapMs } from '../api/backoff.ts'
import { classify, errorTypeOf, explain } from '../api/classify.ts'
import { type ApiClient, type ApiFailure, CALL_TIMEOUT_MS } from '../api/client.ts'
import { type Clock, jittered, sleep, stopwatch } from '../clock.ts'
import { Complaint, OUTAGE_REPEAT_MS } from '../complaint.ts'
import { Latch } from '../latch.ts'
import { type Log, reasonOf } from '../log.ts'
import type { Draft } from '../session-types.ts'
import type { StateDirectory } from '../state/state-directory.ts'
import type { RunnerMetrics } from '../telemetry/instruments.ts'
import type { SessionLedger } from './ledger.ts'
import type { Refused } from './refusal.ts'
import type { Membership } from './runner-identity.ts'
import { STATE_REMEDY } from './storing.ts'

/** Several changes in a moment, such as created and running, share a sync. */
const DEBOUNCE_MS = 25
/** A sync must fail early enough in its lease to be tried again. */
const CALLS_PER_LEASE = 4
const MIN_CALL_TIMEOUT_MS = 1_000

/** However much there is to say, a failing server is not asked more often than this. */
const FAILURE_FLOOR_MS = 250
/** The sync that overtook this one has been answered, or soon will be. */
const STALE_PAUSE_MS = 100

const TOO_LARGE =
  'it is repeated without the messages of ended sessions; a proxy in between must pass bodies of 256 KiB'
const NEWER = 'the control plane is of a later release than this runner: start a runner of the same one'
const POOL_GONE =
  'the pool was deleted, or CONTROL_PLANE_URL is another control plane: stop this runner, or set RUNNER_POOL_ID and REGISTRATION_TOKEN of another pool and start it again'

interface Pause {
  readonly pauseMs: number
  /** The part of it that nothing cuts short. */
  readonly floorMs: number
}

export interface SyncLoopParts {
  readonly api: Pick<ApiClient, 'sync'>
  readonly membership: Membership
  readonly ledger: SessionLedger
  readonly state: Pick<StateDirectory, 'storeLastSync'>
  readonly clock: Clock
  readonly log: Log
  readonly boot: number
  readonly bootId: string
  /** As the last sync of an earlier process had it; infinite when that is not known. */
  readonly leaseTtlMs: number
  readonly health: () => Promise<Health>
  readonly about: Pick<SyncRequest, 'version' | 'platform' | 'engine' | 'labels'>
  /** The ledger was changed by a reply. */
  readonly onApplied: (reply: SyncResponse, draft: Draft) => void
  readonly onFailure: (reason: string) => void
  readonly metrics: Pick<RunnerMetrics, 'syncEnded'>
}

/** The one periodic call: full observed state in, full desired state out. */
export class SyncLoop {
  readonly #parts: SyncLoopParts
  readonly #wanted = new Latch()
  #seq = 0
  #failures = 0
  #leaseTtlMs: number
  /** What the last applied sync said; whatever is not in it is news. */
  #said: ReadonlySet<string> = new Set()
  #inFlight = false
  #applied = 0
  #saidLeaving = false
  /** What the last reply held that was not understood. */
  #ignored = ''
  /** The last body was refused as too large: the next one leaves out what can be left out. */
  #terse = false
  readonly #storing: Complaint
  readonly #outage: Complaint

  constructor(parts: SyncLoopParts) {
    this.#parts = parts
    this.#storing = new Complaint(parts.clock, parts.log)
    this.#outage = new Complaint(parts.clock, parts.log, OUTAGE_REPEAT_MS)
    this.#leaseTtlMs = parts.leaseTtlMs
  }

  /** Sync now, whatever has been said. */
  ring(): void {
    this.#wanted.raise()
  }

  /** Sync now if there is anything that the last sync did not say. */
  noticeChange(): void {
    // A reply compares again, and a failure repeats all of it.
    if (this.#inFlight) return
    if (statements(this.#draft()).some(one => !this.#said.has(one))) this.#wanted.raise()
  }

  appliedCount(): number {
    return this.#applied
  }

  /** Whether the control plane has taken a sync that says that this process leaves. */
  hasSaidLeaving(): boolean {
    return this.#saidLeaving
  }

  /** Ends on abort, or with the reason why the control plane no longer hears this process. */
  async run(signal: AbortSignal): Promise<Refused | null> {
    while (!signal.aborted) {
      const outcome = await this.#once(signal)
      if (signal.aborted) return null
      if ('refused' in outcome) return outcome.refused
      // News may cut the pause short, but not the part of it that the server asked for.
      await sleep(outcome.floorMs, signal)
      const raised = await this.#wanted.wait(outcome.pauseMs - outcome.floorMs, signal)
      if (raised) await sleep(DEBOUNCE_MS, signal)
    }
    return null
  }

  async #once(signal: AbortSignal): Promise<Pause | { refused: Refused }> {
    const { api, ledger, clock, membership } = this.#parts
    // Where the host cannot be measured there is still everything else to say.
    const health = await this.#parts.health().catch(() => null)
    const draft = this.#draft()
    const request = this.#request(draft, health)
    const sentAtMs = clock.now()
    this.#inFlight = true
    const identity = membership.identity
    const took = stopwatch()
    const result = await api.sync(identity, request, signal, this.#timeoutMs())
    this.#inFlight = false
    if (signal.aborted) return { pauseMs: 0, floorMs: 0 }
    this.#parts.metrics.syncEnded(took(), result.ok ? null : errorTypeOf(result.failure))
    // The first use of a new credential, by any call, ends the old one, also for a sync already on its way.
    const wasRotated = identity.credential !== membership.identity.credential
    if (!result.ok) return this.#failed(result.failure, request, wasRotated)
    this.#failures = 0
    this.#outage.worked('the control plane takes syncs again')
    this.#terse = false
    const reply = result.value
    if (reply.stale) return { pauseMs: STALE_PAUSE_MS, floorMs: STALE_PAUSE_MS }
    this.#sayIgnored(reply.ignored)
    this.#leaseTtlMs = reply.lease_ttl_ms
    ledger.applyReply(reply, sentAtMs, clock.now())
    this.#said = new Set(statements(draft))
    this.#applied += 1
    this.#saidLeaving ||= draft.leaving
    await this.#remember(sentAtMs, reply.lease_ttl_ms)
    this.#parts.onApplied(reply, draft)
    this.noticeChange()
    return { pauseMs: jittered(reply.next_sync_in_ms), floorMs: 0 }
  }

  #draft(): Draft {
    return this.#parts.ledger.draft(this.#parts.clock.now())
  }

  #request(draft: Draft, health: Health | null): SyncRequest {
    const { boot, bootId, about } = this.#parts
    this.#seq += 1
    return {
      protocol: RUNNER_PROTOCOL,
      boot,
      boot_id: bootId,
      seq: this.#seq,
      ...draft,
      ...(this.#terse && { leases: draft.leases.map(withoutMessage) }),
      ...(health !== null && { health }),
      ...about,
    }
  }

  #timeoutMs(): number {
    const shareMs = Math.floor(this.#leaseTtlMs / CALLS_PER_LEASE)
    return Math.max(MIN_CALL_TIMEOUT_MS, Math.min(CALL_TIMEOUT_MS, shareMs))
  }

  #failed(failure: ApiFailure, request: SyncRequest, wasRotated: boolean): Pause | { refused: Refused } {
    const { ledger, onFailure } = this.#parts
    this.#failures += 1
    if (failure.kind === 'refused' && classify(failure) !== 'retryable' && !wasRotated) {
      return { refused: { code: failure.problem.code, detail: failure.problem.detail } }
    }
    const askedMs = failure.kind === 'refused' ? failure.retryAfterMs : 0
    const leaseTtlMs = ledger.liveCount() > 0 ? this.#leaseTtlMs : null
    const retryAfterMs = floorMs(askedMs, leaseTtlMs)
    const pauseMs = backoffMs(this.#failures, retryAfterMs, Math.random, pauseCapMs(leaseTtlMs))
    const error = explain(failure)
    const line = { error, retry_in_ms: Math.round(pauseMs) }
    if (statusOf(failure) === 413) {
      this.#terse = true
      const bytes = Buffer.byteLength(JSON.stringify(request))
      const about = { ...line, bytes, leases: request.leases.length, remedy: TOO_LARGE }
      this.#outage.failed(about, 'the sync is too large', 'error')
    } else if (failure.kind === 'refused' && failure.problem.code === 'not_found') {
      const what = 'the control plane no longer has this pool; trying again'
      this.#outage.failed({ ...line, remedy: POOL_GONE }, what, 'error')
    } else {
      this.#outage.failed(line, 'sync failed; trying again')
    }
    onFailure(`sync failed: ${error}`)
    return { pauseMs, floorMs: Math.max(retryAfterMs, Math.min(FAILURE_FLOOR_MS, pauseMs)) }
  }

  /** Once, although every reply may repeat it. */
  #sayIgnored(ignored: readonly string[]): void {
    const said = ignored.join('; ')
    if (said !== '' && said !== this.#ignored) {
      this.#parts.log.warn({ ignored, remedy: NEWER }, 'a part of the reply is not understood and left out')
    }
    this.#ignored = said
  }

  /** Losing it would only make a restarted daemon more careful, so a full disk does not stop the loop. */
  async #remember(sentAtMs: number, leaseTtlMs: number): Promise<void> {
    try {
      await this.#parts.state.storeLastSync({ sentAtMs, leaseTtlMs })
      this.#storing.worked()
    } catch (error) {
      const line = { error: reasonOf(error), remedy: STATE_REMEDY }
      this.#storing.failed(line, 'the time of the last sync cannot be stored')
    }
  }
}

/** What one draft says, in parts. That a session is gone is said by its absence, which can wait for the next sync. */
function statements({ leases, acks, ...rest }: Draft): string[] {
  return [JSON.stringify(rest), ...acks, ...leases.map(lease => JSON.stringify(lease))]
}

function statusOf(failure: ApiFailure): number | null {
  switch (failure.kind) {
    case 'refused':
      return failure.problem.status
    case 'unexpected':
      return failure.status
    case 'unreachable':
      return null
  }
}

function withoutMessage({ exit, ...lease }: LeaseReport): LeaseReport {
  return exit === undefined ? lease : { ...lease, exit: { code: exit.code, reason: exit.reason } }
}
