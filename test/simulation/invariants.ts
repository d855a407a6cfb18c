import type { RunRecord } from '../../durable-objects/runner-pool/core/model.ts'
import { isTerminal } from '../../protocol/run.ts'
import type { PoolNode } from './pool-node.ts'

/**
 * What must hold after every step, whatever went wrong before it.
 *
 * I1 at most one live lease per session and one live session per run; a run waits, or has a lease, or has ended.
 * I2 nothing an ended session's runner says changes its run.
 * I3 at most one container ever per session (the Engine throws).
 * I4 containers of two attempts of one run never overlap while the daemons concerned live.
 * I5 every accepted run reaches exactly one terminal state in bounded time, and it is the true one.
 * I6 no acknowledged command is lost or applied twice.
 * I7 slots are never exceeded and are freed at the end.
 * I8 the alarm comes no later than the next thing that is due.
 * I9 the history equals the object's state at rest.
 * I11 a queued run and a free matching slot meet within two syncs, or within two of the end of the runner's pause (I12).
 * I12 a runner that had a run is not given it again for 10 s, and three times as long after every further time, but
 * never longer than five minutes or than half of what the run has left in the queue; one whose policy refused it never.
 */
export class Violation extends Error {}

export function insist(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Violation(what)
}

/** I1, the state part of I5, I7, I8: one look at the whole store. */
export class StateWatch {
  readonly #ended = new Map<string, string>()
  /** Attempts made by the time the run's cancel was acknowledged. */
  readonly #cancelled = new Map<string, number>()
  #latest = 0
  readonly #pool: PoolNode
  readonly #slotsOf: (runnerId: string) => number

  constructor(pool: PoolNode, slotsOf: (runnerId: string) => number) {
    this.#pool = pool
    this.#slotsOf = slotsOf
  }

  /** From here on the run is given to nobody and may end only as cancelled. */
  cancelAcknowledged(run: RunRecord): void {
    if (!isTerminal(run.status) && !this.#cancelled.has(run.id)) this.#cancelled.set(run.id, run.attempt)
  }

  check(runs: readonly RunRecord[], now: number): void {
    const leases = this.#pool.store.leases.all()
    const byRun = Map.groupBy(leases, lease => lease.runId)
    insist(
      new Set(leases.map(lease => lease.sessionId)).size === leases.length,
      'I1: a session has two leases',
    )
    for (const [runnerId, held] of Map.groupBy(leases, lease => lease.runnerId)) {
      insist(held.length <= this.#slotsOf(runnerId), `I7: ${runnerId} holds ${held.length} leases`)
    }
    for (const run of runs) {
      this.#checkRun(run, byRun.get(run.id)?.length ?? 0)
      this.#checkAlarm(run, now)
    }
    this.#checkLanes()
  }

  #checkRun(run: RunRecord, leases: number): void {
    const places = leases + (run.laneId === null ? 0 : 1) + (isTerminal(run.status) ? 1 : 0)
    insist(places === 1, `I1: run ${run.id} (${run.status}) is in ${places} places at once`)
    insist(
      (run.status === 'queued') === (run.laneId !== null),
      `I1: run ${run.id} is ${run.status} in lane ${run.laneId}`,
    )
    const attempts = this.#cancelled.get(run.id) ?? run.attempt
    insist(run.attempt === attempts, `I6: run ${run.id} was offered again after it was cancelled`)
    if (!isTerminal(run.status)) return
    const end = JSON.stringify(run)
    const before = this.#ended.get(run.id)
    insist(before === undefined || before === end, `I5: run ${run.id} changed after it had ended`)
    this.#ended.set(run.id, end)
    const kept = !this.#cancelled.has(run.id) || run.status === 'cancelled'
    insist(kept, `I6: run ${run.id} was cancelled and ended as ${run.status}`)
  }

  #checkAlarm(run: RunRecord, now: number): void {
    const { alarmAt } = this.#pool
    // What was due before the clock went back has been seen to.
    this.#latest = Math.max(this.#latest, now)
    if (alarmAt === null || run.status !== 'queued') return
    const pauses = run.tried.flatMap(({ until }) => (until > this.#latest ? [until] : []))
    const due = Math.min(run.queueDeadline, ...pauses)
    insist(alarmAt <= due, `I8: the alarm comes ${alarmAt - due} ms after run ${run.id} is due`)
  }

  #checkLanes(): void {
    for (const lane of this.#pool.store.queue.lanes()) {
      const waiting = this.#pool.store.queue.heads(lane.id, 10_000).length
      insist(waiting === lane.queued, `I5: lane ${lane.id} counts ${lane.queued} of ${waiting} runs`)
    }
  }
}

const FIRST_PAUSE_MS = 10_000
const LONGEST_PAUSE_MS = 300_000

/** I12, and who is excused from I11 by it. The pool's own clock is what the pauses are counted on. */
export class PauseWatch {
  /** Runs that a runner has: whose, in which session. */
  readonly #holders = new Map<string, { readonly runnerId: string; readonly sessionId: string | null }>()
  /** Per run and runner: how often it had the run, and until when it may not have it again. */
  readonly #pauses = new Map<string, { readonly times: number; readonly until: number }>()
  readonly #pool: PoolNode

  constructor(pool: PoolNode) {
    this.#pool = pool
  }

  check(runs: readonly RunRecord[], now: number): void {
    for (const run of runs) {
      if (isTerminal(run.status)) continue
      if (run.runnerId === null) this.#cameBack(run, now)
      else if (this.#holders.get(run.id)?.sessionId !== run.sessionId) this.#wasGiven(run, run.runnerId, now)
    }
  }

  isPaused(runId: string, runnerId: string, now: number): boolean {
    return now < (this.#pauses.get(`${runId} ${runnerId}`)?.until ?? 0)
  }

  #wasGiven(run: RunRecord, runnerId: string, now: number): void {
    insist(!this.isPaused(run.id, runnerId, now), `I12: ${runnerId} is given run ${run.id} again too soon`)
    this.#holders.set(run.id, { runnerId, sessionId: run.sessionId })
  }

  #cameBack(run: RunRecord, now: number): void {
    const holder = this.#holders.get(run.id)
    if (holder === undefined) return
    this.#holders.delete(run.id)
    const key = `${run.id} ${holder.runnerId}`
    const times = (this.#pauses.get(key)?.times ?? 0) + 1
    const longest = Math.min(LONGEST_PAUSE_MS, (run.queueDeadline - now) / 2)
    const pause = this.#wasRefused(run.id)
      ? Number.POSITIVE_INFINITY
      : Math.min(longest, FIRST_PAUSE_MS * 3 ** (times - 1))
    const until = Math.max(this.#pauses.get(key)?.until ?? 0, now + pause)
    this.#pauses.set(key, { times, until })
  }

  #wasRefused(runId: string): boolean {
    const [newest] = this.#pool.sql.exec(
      'SELECT detail FROM outbox WHERE run_id = ? ORDER BY seq DESC LIMIT 1',
      runId,
    )
    return String(newest?.detail).includes('policy_denied')
  }
}

/** I2: a sync changes only runs its runner had a lease on, or took from the queue. */
export class SpeechWatch {
  readonly #pool: PoolNode

  constructor(pool: PoolNode) {
    this.#pool = pool
  }

  around<T>(runnerId: string, runIds: Iterable<string>, work: () => T): T {
    const mine = new Set(this.#pool.store.leases.ofRunner(runnerId).map(lease => lease.runId))
    const before = new Map<string, RunRecord | null>()
    for (const id of runIds) before.set(id, this.#pool.store.runs.get(id))
    const value = work()
    for (const [id, was] of before) {
      const is = this.#pool.store.runs.get(id)
      if (was?.version === is?.version || mine.has(id) || was?.status === 'queued') continue
      insist(
        false,
        `I2: ${runnerId} changed run ${id} from ${was?.status} to ${is?.status} without a lease on it`,
      )
    }
    return value
  }
}

/**
 * I6: old news is no news. A sync that carried something (a lease, an offer, a command) is never followed by an
 * older one of the same process, whatever the object has forgotten in between.
 */
export class OrderWatch {
  readonly #latest = new Map<string, number>()

  applied(bootId: string, seq: number, carried: boolean): void {
    const latest = this.#latest.get(bootId) ?? 0
    insist(seq > latest, `I6: sync ${seq} of ${bootId} was applied after sync ${latest}`)
    if (carried) this.#latest.set(bootId, seq)
  }
}
