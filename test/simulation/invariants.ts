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
 * I9 the history equals the object's state at rest.
 * I11 a queued run and a free matching slot meet within two syncs.
 */
export class Violation extends Error {}

export function insist(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Violation(what)
}

/** I1, the state part of I5, I7: one look at the whole store. */
export class StateWatch {
  readonly #ended = new Map<string, string>()
  /** Attempts made by the time the run's cancel was acknowledged. */
  readonly #cancelled = new Map<string, number>()
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

  check(runIds: Iterable<string>): void {
    const leases = this.#pool.store.leases.all()
    const byRun = Map.groupBy(leases, lease => lease.runId)
    insist(
      new Set(leases.map(lease => lease.sessionId)).size === leases.length,
      'I1: a session has two leases',
    )
    for (const [runnerId, held] of Map.groupBy(leases, lease => lease.runnerId)) {
      insist(held.length <= this.#slotsOf(runnerId), `I7: ${runnerId} holds ${held.length} leases`)
    }
    for (const runId of runIds) {
      const run = this.#pool.store.runs.get(runId)
      insist(run !== null, `I5: run ${runId} is gone`)
      this.#checkRun(run, byRun.get(runId)?.length ?? 0)
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

  #checkLanes(): void {
    for (const lane of this.#pool.store.queue.lanes()) {
      const waiting = this.#pool.store.queue.heads(lane.id, 10_000).length
      insist(waiting === lane.queued, `I5: lane ${lane.id} counts ${lane.queued} of ${waiting} runs`)
    }
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
