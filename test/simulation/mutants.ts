/** Deliberate faults of the core, each a rule taken out. The simulation must notice every one. */
export interface Mutant {
  readonly rule: string
  readonly file: string
  /** Must occur exactly once in the file. */
  readonly find: string
  readonly replace: string
}

const CORE = 'durable-objects/runner-pool/core'
const STORE = 'durable-objects/runner-pool/store'
const RUNNER = 'runner/daemon'

export const MUTANTS: readonly Mutant[] = [
  {
    rule: 'a lease ends only after the grace, when the runner has given up first',
    file: `${CORE}/expiry.ts`,
    find: 'return held + ctx.rules.leaseGraceMs',
    replace: 'return held - 20_000',
  },
  {
    rule: 'an ended attempt has no lease',
    file: `${CORE}/attempt.ts`,
    find: 'ctx.store.leases.delete(lease)',
    replace: 'void lease',
  },
  {
    rule: 'a recorded cancel wins over every later end',
    file: `${CORE}/attempt.ts`,
    find: "if (run.cancelRequestedAt !== null) return finish(ctx, run, 'cancelled', 'cancelled')",
    replace: '',
  },
  {
    rule: 'a cancelled offer that lapses is not queued again',
    file: `${CORE}/attempt.ts`,
    find: "if (run.cancelRequestedAt !== null) return finish(ctx, run, 'cancelled', 'cancelled before it started')",
    replace: '',
  },
  {
    rule: 'what the runner holds takes up its slots',
    file: `${CORE}/sync.ts`,
    find: 'request.slots.max - occupied.size, OFFERS_PER_REPLY',
    replace: 'request.slots.max, OFFERS_PER_REPLY',
  },
  {
    rule: 'a stale sync applies nothing',
    file: `${CORE}/sync.ts`,
    find: 'request.seq <= lastSeq(ctx, runner)',
    replace: 'request.seq < 0',
  },
  {
    rule: 'a sync that writes anything stores its seq',
    file: `${CORE}/sync.ts`,
    find: '  runner.seq = seq\n',
    replace: '',
  },
  {
    rule: 'a lease belongs to one runner',
    file: `${STORE}/leases.ts`,
    find: "'SELECT * FROM leases WHERE runner_id = ?'",
    replace: "'SELECT * FROM leases WHERE ? IS NOT NULL'",
  },
  {
    rule: 'a command is acknowledged by its own runner',
    file: `${STORE}/commands.ts`,
    find: 'SELECT * FROM commands WHERE runner_id = ? ORDER',
    replace: 'SELECT * FROM commands WHERE ? IS NOT NULL ORDER',
  },
  {
    rule: 'a run that nobody takes ends after its queue timeout',
    file: `${CORE}/expiry.ts`,
    find: "if (run?.status === 'queued') lookAtWaiting(ctx, run)",
    replace: 'if (run === null) return null',
  },
  {
    rule: 'an expired lease is found by the alarm',
    file: `${CORE}/expiry.ts`,
    find: 'if (!checkLease(ctx, lease, runner)) continue',
    replace: '',
  },
  {
    rule: 'a lane counts its runs',
    file: `${CORE}/assignment.ts`,
    find: 'if (count > 0) ctx.store.queue.release(lane, count)',
    replace: 'if (count > 1) ctx.store.queue.release(lane, count)',
  },
  {
    rule: 'an end that was stored is in the outbox',
    file: `${CORE}/run-state.ts`,
    find: '  moveTo(ctx, run, status, detail)\n  ctx.store.runs.update(run)\n',
    replace: '  run.status = status\n  ctx.store.runs.update(run)\n',
  },
  {
    rule: 'a runner of another Engine proves nothing about sessions of the first',
    file: `${CORE}/profile.ts`,
    find: 'lease.missing = MISSING_NOT_COUNTED',
    replace: 'void MISSING_NOT_COUNTED',
  },
  {
    rule: 'a runner is given a matching run it has room for',
    file: `${CORE}/assignment.ts`,
    find: 'const heads = lanes.flatMap(',
    replace: 'const heads = lanes.slice(0, 1).flatMap(',
  },
  {
    rule: 'a runner looks for lanes under each of its labels',
    file: `${STORE}/queue.ts`,
    find: 'return anchorsOf(labels).flatMap(',
    replace: 'return anchorsOf(labels).slice(1).flatMap(',
  },
  {
    rule: 'a runner that had a run leaves it to others first',
    file: `${CORE}/waiting.ts`,
    find: 'until: ctx.now + pauseMs',
    replace: 'until: ctx.now',
  },
  {
    rule: 'so does one that let the offer lapse',
    file: `${CORE}/waiting.ts`,
    find: "comeBack(ctx, run, lease.runnerId, false, 'the offer lapsed')",
    replace: "comeBack(ctx, run, '', false, 'the offer lapsed')",
  },
  {
    rule: 'it does so for longer each time',
    file: `${CORE}/waiting.ts`,
    find: 'const PAUSE_GROWTH = 3',
    replace: 'const PAUSE_GROWTH = 1',
  },
  {
    rule: 'its pause is known to the queue',
    file: `${STORE}/queue.ts`,
    find: 'run.pauses.length === 0 ? null : JSON.stringify(run.pauses)',
    replace: 'null',
  },
  {
    rule: 'its pause ends by itself',
    file: `${CORE}/placement.ts`,
    find: 'pause.runnerId === runnerId && pause.until > now',
    replace: 'pause.runnerId === runnerId',
  },
  {
    rule: 'the end of its pause is a time at which the alarm comes',
    file: `${CORE}/waiting.ts`,
    find: '  lookAgainAt(ctx, run, tried.until)\n',
    replace: '',
  },
  {
    rule: 'a pause leaves the run time enough to be taken',
    file: `${CORE}/waiting.ts`,
    find: 'Math.floor((run.queueDeadline - ctx.now) / 2)',
    replace: 'LONGEST_PAUSE_MS',
  },
  {
    rule: 'a runner whose policy refused a run never has it again',
    file: `${CORE}/placement.ts`,
    find: "if (demand.forbidden.includes(runner.id)) reasons.push('policy')",
    replace: '',
  },
  {
    rule: 'a success is an exit with code 0',
    file: `${CORE}/attempt.ts`,
    find: "if (exit.code === 0) return { kind: 'succeeded', exitCode: 0 }",
    replace: "if (exit.code !== null) return { kind: 'succeeded', exitCode: 0 }",
  },
  {
    rule: 'the runner kills what outlives its lease',
    file: `${RUNNER}/ledger.ts`,
    find: 'export const LEASE_KILL_MS = 10_000',
    replace: 'export const LEASE_KILL_MS = 90_000',
  },
  {
    rule: 'the runner counts its lease from when it sent the sync',
    file: `${RUNNER}/ledger.ts`,
    find: 'this.#keep(session, sentAtMs + reply.lease_ttl_ms)',
    replace: 'this.#keep(session, nowMs + reply.lease_ttl_ms * 2)',
  },
  {
    rule: 'the runner removes a container only after it is released',
    file: `${RUNNER}/plan-session.ts`,
    find: "if (phase.at === 'ended' && released && phase.container !== 'alive') {",
    replace: "if (phase.at === 'ended' && phase.container !== 'alive') {",
  },
]
