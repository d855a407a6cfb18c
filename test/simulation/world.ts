import { authenticate } from '../../durable-objects/runner-pool/core/authentication.ts'
import type { PoolContext, Rules } from '../../durable-objects/runner-pool/core/context.ts'
import type { RunRecord } from '../../durable-objects/runner-pool/core/model.ts'
import { missingLabels } from '../../durable-objects/runner-pool/core/placement.ts'
import {
  findRunner,
  register,
  remove,
  setRunnerState,
} from '../../durable-objects/runner-pool/core/runners.ts'
import { cancel, enqueue, toRun } from '../../durable-objects/runner-pool/core/runs.ts'
import { sync } from '../../durable-objects/runner-pool/core/sync.ts'
import { isTerminal } from '../../protocol/run.ts'
import {
  EXIT_REASONS,
  SESSION_STATES,
  type SyncRequest,
  type SyncResponse,
} from '../../protocol/runner-api.ts'
import { FOUND_LEASE_MS, LEASE_KILL_MS } from '../../runner/daemon/ledger.ts'
import { Clockwork } from './clockwork.ts'
import { Host } from './daemon.ts'
import { type Container, Engine, type Script } from './engine.ts'
import { insist, OrderWatch, PauseWatch, SpeechWatch, StateWatch } from './invariants.ts'
import { POOL_ID, PoolNode } from './pool-node.ts'
import { Random } from './random.ts'

/** How long things go wrong, and how long everything then has to come to rest. */
const CHAOS_MS = 10 * 60_000
const CALM_MS = 60 * 60_000
/** A daemon that was away cannot have enforced anything; right after it is back it gets a moment to. */
const REACTION_MS = 3_000
/** One whose memory was wiped knows of no lease, and waits for whoever claims what it finds running before it ends it. */
const ORPHAN_MS = 5_000 + FOUND_LEASE_MS + LEASE_KILL_MS + REACTION_MS

/** The grace is what the clock rule rests on: longer than the runner's ten seconds between SIGTERM and SIGKILL. */
function rulesFor(random: Random): Rules {
  return {
    leaseTtlMs: random.pick([10_000, 45_000, 150_000]),
    leaseGraceMs: 15_000,
    offerTtlMs: 20_000,
    handoverMs: 120_000,
    syncIdleMs: random.pick([1_000, 5_000]),
    uploadWindowMs: 900_000,
  }
}

export interface Summary {
  readonly seed: number
  readonly steps: number
  readonly outcomes: Record<string, number>
  readonly retries: number
}

/** One seeded world from chaos to rest. @throws Violation with the seed when an invariant breaks */
export function simulate(seed: number): Summary {
  const world = new World(seed)
  try {
    return world.run()
  } catch (error) {
    const what = error instanceof Error ? (error.stack ?? error.message) : String(error)
    throw new Error(`seed ${seed} after ${world.steps} steps: ${what}`)
  } finally {
    world.close()
  }
}

class World {
  steps = 0
  readonly #seed: number
  readonly #time = new Clockwork()
  readonly #random: Random
  readonly #pool: PoolNode
  readonly #hosts: Host[] = []
  readonly #runs = new Map<string, Script>()
  readonly #exits = new Map<string, Container[]>()
  readonly #states: StateWatch
  readonly #speech: SpeechWatch
  readonly #order = new OrderWatch()
  readonly #pauses: PauseWatch
  /** Applied syncs of a runner with a free slot that did not get a run it could have had. */
  readonly #missed = new Map<string, number>()
  #calm = false

  constructor(seed: number) {
    this.#seed = seed
    this.#random = new Random(seed)
    this.#pool = new PoolNode(this.#time, this.#random, rulesFor(this.#random))
    this.#states = new StateWatch(this.#pool, () => 3)
    this.#speech = new SpeechWatch(this.#pool)
    this.#pauses = new PauseWatch(this.#pool)
    this.#pool.onStep = now => {
      const runs = this.#records()
      this.#states.check(runs, now)
      this.#pauses.check(runs, now)
    }
    const count = this.#random.pick([1, 2, 2, 3, 3])
    for (let i = 0; i < count; i++) this.#addHost(`runner-${i}`, `engine-${i}`)
  }

  run(): Summary {
    const end = this.#time.now + CHAOS_MS
    for (const host of this.#hosts) host.start()
    for (let i = this.#random.between(4, 14); i > 0; i--)
      this.#time.after(this.#random.between(0, CHAOS_MS / 2), () => this.#enqueue())
    for (let i = this.#random.between(5, 25); i > 0; i--)
      this.#time.after(this.#random.between(0, CHAOS_MS), () => this.#disturb())
    while (this.#time.step(end)) this.steps += 1
    this.#becalm()
    const rest = this.#time.now + CALM_MS
    while (this.#time.now < rest && !this.#isAtRest() && this.#time.step(rest)) this.steps += 1
    return this.#judge()
  }

  close(): void {
    this.#pool.sql.close()
  }

  #addHost(name: string, engineId: string): Host {
    const engine = new Engine(engineId, this.#time, this.#random, {
      started: (container, on) => this.#checkStart(container, on),
      removed: container => this.#checkRemoval(container),
    })
    const host = new Host(name, this.#time, this.#random, this.#pool, engine, this.#runs, {
      slots: this.#random.between(1, 3),
      labels: { os: 'linux', zone: this.#random.pick(['a', 'b']) },
      memoryMb: this.#random.pick([1_000, 2_000]),
      refuses: this.#random.pick([null, null, null, 'forbidden-here']),
    })
    host.onApplied = (...sync) => {
      this.#checkApplied(...sync)
      this.#spoilOffer(host, sync[3])
    }
    host.onReply = (from, request, reply) => this.#checkReply(from, request, reply)
    this.#hosts.push(host)
    return host
  }

  #enqueue(): void {
    const id = `run_${String(this.#runs.size + 1).padStart(26, '0')}`
    const script = {
      durationMs: this.#random.chance(0.3)
        ? this.#random.between(0, 1_500)
        : this.#random.between(1_500, 200_000),
      exitCode: this.#random.pick([0, 0, 0, 1]),
      ignoresTerm: this.#random.chance(0.3),
      memoryMb: this.#random.pick([0, 0, 0, 100, 600, 1_200]),
    }
    this.#runs.set(id, script)
    const labels = this.#random.pick([{}, {}, { os: 'linux' }, { zone: 'a' }])
    this.#pool.command(ctx =>
      enqueue(ctx, {
        run_id: id,
        environment_id: 'env_1',
        image: this.#random.pick(['agent', 'agent', 'agent', 'agent', 'agent', 'forbidden-here']),
        command: ['true'],
        env: { SECRET: 'x' },
        timeout_seconds: this.#random.pick([20, 60, 600]),
        queue_timeout_seconds: this.#random.pick([60, 300, 900]),
        priority: this.#random.between(-2, 2),
        labels,
        resources: script.memoryMb === 0 ? {} : { memory_mb: script.memoryMb },
        stream: true,
        max_attempts: this.#random.between(1, 5),
        metadata: {},
      }),
    )
  }

  #disturb(): void {
    const host = this.#random.pick(this.#hosts)
    const back = (ms: number) => this.#time.after(ms, () => host.start())
    const disturbances: (() => void)[] = [
      () => this.#cancelOne(),
      () => this.#cancelOne(),
      () => this.#pool.evict(),
      () => this.#pool.evict(),
      () => {
        host.kill()
        back(this.#random.between(10, 90_000))
      },
      () => {
        host.kill()
        back(this.#random.between(10, 3_000))
      },
      () => {
        host.leave()
        back(this.#random.between(3_500, 60_000))
      },
      () => host.pause(this.#random.between(100, 120_000)),
      () => {
        host.weather.cutUntil = this.#time.now + this.#random.between(1_000, 120_000)
      },
      () => {
        host.weather.cutUntil = this.#time.now + this.#random.between(60_000, 200_000)
      },
      () => {
        host.engine.downUntil = this.#time.now + this.#random.between(500, 40_000)
      },
      () => {
        host.crowdedUntil = this.#time.now + this.#random.between(1_000, 300_000)
      },
      () => {
        const until = this.#time.now + this.#random.between(1_000, 200_000)
        for (const one of this.#random.pick([[host], this.#hosts])) one.registryDownUntil = until
      },
      () => {
        host.wipe()
        back(this.#random.between(10, 5_000))
      },
      () => this.#drainAWhile(host),
      () => this.#removeRunner(host),
      () => this.#takeOver(),
      () => this.#takeOver(),
      () => this.#takeOver(),
      () => this.#speakForOthers(),
    ]
    this.#random.pick(disturbances)()
  }

  #cancelOne(): void {
    if (this.#runs.size === 0) return
    this.#cancel(this.#random.pick([...this.#runs.keys()]))
  }

  #cancel(id: string): void {
    const result = this.#pool.command(ctx => cancel(ctx, id))
    insist(result.ok, `run ${id} could not be cancelled`)
    this.#states.cancelAcknowledged(result.value)
  }

  /** Now and then an offer is cancelled while its runner is cut off and cannot have heard of either. */
  #spoilOffer(host: Host, reply: SyncResponse): void {
    const [offer] = reply.offers
    if (offer === undefined || this.#calm || !this.#random.chance(0.05)) return
    host.weather.cutUntil = this.#time.now + this.#random.between(30_000, 70_000)
    this.#time.after(this.#random.between(0, 100), () => this.#cancel(offer.run_id))
  }

  #drainAWhile(host: Host): void {
    const id = host.disk.credential?.runnerId
    if (id === undefined || this.#random.chance(0.3)) {
      this.#pool.setPoolState('draining')
      this.#time.after(this.#random.between(1_000, 60_000), () => this.#pool.setPoolState('active'))
      return
    }
    this.#pool.command(ctx => setRunnerState(ctx, id, 'draining', 'maintenance'))
    this.#time.after(this.#random.between(1_000, 60_000), () =>
      this.#pool.command(ctx => setRunnerState(ctx, id, 'active', null)),
    )
  }

  #removeRunner(host: Host): void {
    const id = host.disk.credential?.runnerId
    if (id === undefined) return
    this.#pool.command(ctx => {
      const runner = findRunner(ctx, id)
      if (runner !== null) remove(ctx, runner, false)
    })
    // Its operator registers it anew, once it has noticed and ended what it had.
    this.#time.after(this.#random.between(100_000, 150_000), () => {
      host.wipe()
      host.start()
    })
  }

  /** Somebody starts a runner of the same name on another machine while the first, where one is busy, is cut off. */
  #takeOver(): void {
    const busy = this.#hosts.filter(host => host.engine.running().length > 0)
    const host = this.#random.pick(busy.length > 0 ? busy : this.#hosts)
    host.weather.cutUntil = this.#time.now + this.#random.between(60_000, 150_000)
    const other = this.#addHost(host.name, `${host.engine.id}-other-${this.#hosts.length}`)
    this.#time.after(this.#random.between(100, 60_000), () => other.start())
  }

  /** A runner with a valid credential that reports sessions which are not its own. */
  #speakForOthers(): void {
    const sessions = [...this.#runs.keys()].flatMap(id => this.#pool.store.runs.get(id)?.sessionId ?? [])
    const hash = 'mallory'
    const registered = this.#pool.command(ctx =>
      register(ctx, {
        token_id: 'tok_1',
        name: `mallory-${this.#random.between(0, 1e9)}`,
        boot_id: 'mallory-boot',
        fresh_runner_id: `rnr_m${this.#random.between(0, 1e12)}`,
        credential_hash: hash,
        boot: 1,
        protocol: 1,
        max_concurrency: 1,
        labels: {},
        version: '0.1.0',
        platform: { os: 'linux', arch: 'x64', cpus: 1, memory_mb: 1 },
        engine: null,
      }),
    )
    insist(registered.ok, 'a new runner was refused')
    const id = registered.value.runner_id
    const commands = this.#hosts.flatMap(host => {
      const runnerId = host.disk.credential?.runnerId
      return runnerId === undefined
        ? []
        : this.#pool.store.commands.ofRunner(runnerId).map(command => command.id)
    })
    const request: SyncRequest = {
      protocol: 1,
      boot: 1,
      boot_id: 'mallory-boot',
      seq: 1,
      draining: true,
      inventory: 'complete',
      slots: { max: 1 },
      acks: commands,
      leases: sessions.map(session_id => ({
        session_id,
        state: this.#random.pick(SESSION_STATES),
        exit: { code: 0, reason: this.#random.pick(EXIT_REASONS) },
      })),
    }
    this.#speech.around(id, this.#runs.keys(), () => this.#pool.command(ctx => sync(ctx, id, hash, request)))
    for (const command of commands) {
      const still = this.#hosts.some(host => {
        const runnerId = host.disk.credential?.runnerId
        return (
          runnerId !== undefined &&
          this.#pool.store.commands.ofRunner(runnerId).some(open => open.id === command)
        )
      })
      insist(still, `I6: a stranger acknowledged command ${command}`)
    }
    this.#pool.command(ctx => {
      const known = authenticate(ctx, id, hash)
      if (known.ok) remove(ctx, known.value.runner, true)
    })
  }

  #records(): RunRecord[] {
    return [...this.#runs.keys()].map(id => {
      const run = this.#pool.store.runs.get(id)
      insist(run !== null, `I5: run ${id} is gone`)
      return run
    })
  }

  /** I4: nothing of an earlier attempt may still run, unless nobody was there to end it. */
  #checkStart(container: Container, on: Engine): void {
    const started = this.#exits.get(container.runId) ?? []
    this.#exits.set(container.runId, [...started, container])
    for (const host of this.#hosts) {
      const lately = this.#time.now - host.lastDownAt < REACTION_MS
      const excused = !host.isEnforcing || lately || this.#time.now < host.engine.downUntil + REACTION_MS
      for (const other of host.engine.running()) {
        const isOrphan = !host.disk.journal.has(other.sessionId) && this.#time.now < host.wipedAt + ORPHAN_MS
        if (other.runId !== container.runId || other === container || excused || isOrphan) continue
        insist(
          false,
          `I4: ${container.sessionId} starts on ${on.id} while ${other.sessionId} runs on ${host.engine.id}`,
        )
      }
    }
  }

  /** I11: of two applied syncs at most one leaves a run waiting that the runner could have had. */
  #checkApplied(ctx: PoolContext, runnerId: string, request: SyncRequest, reply: SyncResponse): void {
    const runs = this.#records()
    this.#pauses.check(runs, ctx.now)
    const kept = reply.leases.filter(lease => lease.verdict === 'keep')
    const carried = kept.length + reply.offers.length + reply.commands.length > 0
    this.#order.applied(request.boot_id, request.seq, carried)
    const runner = findRunner(ctx, runnerId)
    const closed = ctx.pool.state === 'draining' || runner?.state === 'draining' || request.draining
    if (runner === null || closed || request.leaving) return
    const held = ctx.store.leases.ofRunner(runnerId)
    const promisedMb = held.reduce((sum, lease) => sum + (lease.runningAt === null ? lease.memoryMb : 0), 0)
    const memoryLeftMb = (request.health?.memory_free_mb ?? 0) - promisedMb
    const occupied = new Set(held.map(lease => lease.sessionId))
    for (const lease of request.leases) if (lease.state !== 'exited') occupied.add(lease.session_id)
    if (occupied.size >= request.slots.max) return
    for (const run of runs) {
      if (run.status !== 'queued') continue
      const fits =
        missingLabels(run.spec.labels, runner.labels).length === 0 &&
        (run.spec.resources.memory_mb ?? 0) <= memoryLeftMb &&
        !this.#pauses.isPaused(run.id, runnerId, ctx.now)
      const key = `${runnerId} ${run.id}`
      const missed = fits ? (this.#missed.get(key) ?? 0) + 1 : 0
      this.#missed.set(key, missed)
      insist(missed < 2, `I11: run ${run.id} waits although ${runner.name} has a free slot`)
    }
  }

  /** What the pool still counts on must stay: its exit has not been recorded. A removed runner is counted out. */
  #checkRemoval({ sessionId }: Container): void {
    const lease = this.#pool.store.leases.all().find(live => live.sessionId === sessionId)
    const counted = lease !== undefined && this.#pool.store.runners.get(lease.runnerId)?.removedAt === null
    insist(!counted, `I5: the container of ${sessionId} is removed while its lease lives`)
  }

  /** I7 on the host's side. */
  #checkReply(host: Host, request: SyncRequest, reply: SyncResponse): void {
    insist(
      host.holds <= host.traits.slots,
      `I7: ${host.name} holds ${host.holds} sessions in ${host.traits.slots} slots`,
    )
    const occupied = request.leases.filter(lease => lease.state !== 'exited').length
    insist(
      reply.offers.length + occupied <= host.traits.slots,
      `I7: ${host.name} is offered more than it has room for`,
    )
  }

  #becalm(): void {
    this.#calm = true
    this.#pool.setPoolState('active')
    for (const host of this.#hosts) {
      host.weather.lossy = false
      host.weather.cutUntil = 0
      host.engine.downUntil = 0
      host.crowdedUntil = 0
      host.registryDownUntil = 0
      host.start()
    }
    this.#pool.evict()
  }

  #isAtRest(): boolean {
    const ended = [...this.#runs.keys()].every(id => {
      const run = this.#pool.store.runs.get(id)
      return run !== null && isTerminal(run.status)
    })
    return (
      ended &&
      this.#pool.store.outbox.isEmpty() &&
      this.#hosts.every(host => (host.isInGoodStanding ? isEmpty(host) : host.engine.running().length === 0))
    )
  }

  /** I5, I7, I9 at rest, and that a success is one. */
  #judge(): Summary {
    insist(this.#calm, 'the world never calmed down')
    const outcomes: Record<string, number> = {}
    let retries = 0
    for (const id of this.#runs.keys()) {
      const run = this.#pool.store.runs.get(id)
      insist(run !== null && isTerminal(run.status), `I5: run ${id} never ended: ${run?.status}`)
      outcomes[run.status] = (outcomes[run.status] ?? 0) + 1
      if (run.attempt > 1) retries += 1
      const trueExit = (this.#exits.get(id) ?? []).some(container => container.exitCode === 0)
      insist(
        run.status !== 'succeeded' || trueExit,
        `I5: run ${id} succeeded without any container exiting 0`,
      )
      const row = this.#pool.history.get(id)
      insist(
        row?.document === JSON.stringify(toRun(POOL_ID, run)),
        `I9: the history of run ${id} differs from its state`,
      )
      insist(row.events.size === run.version, `I9: run ${id} has ${row.events.size} of ${run.version} events`)
    }
    insist(this.#pool.store.leases.all().length === 0, 'I7: a lease is left at rest')
    for (const runner of this.#pool.store.runners.all()) {
      const open = this.#pool.store.commands.ofRunner(runner.id)
      insist(open.length === 0, `I6: ${open.length} commands to ${runner.name} are left at rest`)
    }
    for (const host of this.#hosts) {
      // Whom the pool no longer knows is told to forget nothing; its operator cleans up after it.
      const clean = host.isInGoodStanding ? isEmpty(host) : host.engine.running().length === 0
      insist(
        clean,
        `I10: ${host.engine.id} has containers or journal entries left at rest: ${describe(host)}`,
      )
    }
    return { seed: this.#seed, steps: this.steps, outcomes, retries }
  }
}

function isEmpty(host: Host): boolean {
  return host.engine.containers.size === 0 && host.disk.journal.size === 0
}

function describe(host: Host): string {
  return JSON.stringify({
    containers: [...host.engine.containers.values()],
    journal: [...host.disk.journal.keys()],
  })
}
