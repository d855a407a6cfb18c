import type { PoolContext } from '../../durable-objects/runner-pool/core/context.ts'
import { register } from '../../durable-objects/runner-pool/core/runners.ts'
import { sync } from '../../durable-objects/runner-pool/core/sync.ts'
import type { Result } from '../../protocol/errors.ts'
import type { ExitReason, SyncRequest, SyncResponse } from '../../protocol/runner-api.ts'
import { timestamp } from '../../protocol/text.ts'
import { SessionLedger } from '../../runner/daemon/ledger.ts'
import type { Action, Found, JournalEntry, LastSync } from '../../runner/session-types.ts'
import type { Clockwork } from './clockwork.ts'
import type { Container, Engine, Script } from './engine.ts'
import { type Crash, Crashed, type PoolNode } from './pool-node.ts'
import type { Random } from './random.ts'

/** The network between one daemon and the pool; all of it may go wrong. */
export interface Weather {
  lossy: boolean
  /** Until this true time nothing gets through from this host. */
  cutUntil: number
}

/** What a host is and what it lets its runner do. */
export interface HostTraits {
  readonly slots: number
  readonly labels: Record<string, string>
  readonly memoryMb: number
  /** The image its policy refuses. */
  readonly refuses: string | null
}

const CLIENT_TIMEOUT_MS = 8_000
const STOP_GRACE_MS = 10_000

/** What a host keeps on disk. */
interface Disk {
  boot: number
  journal: Map<string, JournalEntry>
  credential: { runnerId: string; hash: string } | null
  lastSync: LastSync | null
}

/**
 * A host with an Engine and a daemon that may be killed, paused, restarted and wiped at any step. The daemon is
 * the real ledger; only its I/O is made up, with delays and failures.
 */
export class Host {
  readonly name: string
  readonly engine: Engine
  readonly traits: HostTraits
  /** Until this true time something else on the host takes up nearly all of its memory. */
  crowdedUntil = 0
  /** Until this true time no image can be pulled. */
  registryDownUntil = 0
  readonly weather: Weather = { lossy: true, cutUntil: 0 }
  disk: Disk = { boot: 0, journal: new Map(), credential: null, lastSync: null }
  /** True times between which the daemon could not enforce anything. */
  pausedUntil = 0
  lastDownAt = Number.NEGATIVE_INFINITY
  wipedAt = Number.NEGATIVE_INFINITY
  /** Whether the pool takes this daemon for the runner; one that it refused ends its sessions and idles. */
  isInGoodStanding = false
  onReply: (host: Host, request: SyncRequest, reply: SyncResponse) => void = () => {}
  onApplied: (ctx: PoolContext, runnerId: string, request: SyncRequest, reply: SyncResponse) => void =
    () => {}
  readonly #world: Clockwork
  readonly #random: Random
  readonly #pool: PoolNode
  readonly #scripts: ReadonlyMap<string, Script>
  readonly #rate: number
  #life = 0
  #ledger: SessionLedger | null = null
  #bootId = ''
  #seq = 0
  #inFlight = new Set<string>()
  #syncing = false
  #halted = false
  #everSynced = false
  #terminated = new Set<string>()
  #watched = new Set<string>()

  constructor(
    name: string,
    world: Clockwork,
    random: Random,
    pool: PoolNode,
    engine: Engine,
    scripts: ReadonlyMap<string, Script>,
    traits: HostTraits,
  ) {
    this.name = name
    this.engine = engine
    this.traits = traits
    this.#world = world
    this.#random = random
    this.#pool = pool
    this.#scripts = scripts
    // No two clocks agree; a quarter of a percent is far worse than any real crystal.
    this.#rate = 1 + (random.next() - 0.5) * 0.005
  }

  get isUp(): boolean {
    return this.#ledger !== null
  }

  get isEnforcing(): boolean {
    return this.#ledger !== null && this.#world.now >= this.pausedUntil
  }

  /** Sessions of which the daemon knows. */
  get holds(): number {
    return this.#ledger?.liveCount() ?? 0
  }

  kill(): void {
    if (this.#ledger === null) return
    this.#ledger = null
    this.isInGoodStanding = false
    this.#life += 1
    this.#inFlight = new Set()
    this.#terminated = new Set()
    this.#watched = new Set()
    this.#syncing = false
  }

  pause(ms: number): void {
    if (!this.isUp) return
    // A pause within a longer one ends nothing: what waits for the longer one's end still does.
    this.pausedUntil = Math.max(this.pausedUntil, this.#world.now + ms)
    this.lastDownAt = this.pausedUntil
  }

  /** A wiped state directory: the next daemon is a stranger with the same name. */
  wipe(): void {
    this.kill()
    this.wipedAt = this.#world.now
    this.disk = { boot: 0, journal: new Map(), credential: null, lastSync: null }
  }

  leave(): void {
    this.#ledger?.leave()
    this.#syncSoon(0)
    const life = this.#life
    this.#world.after(this.#random.between(500, 3_000), () => {
      if (life === this.#life) this.kill()
    })
  }

  start(): void {
    if (this.#ledger !== null) return
    this.lastDownAt = this.#world.now
    this.#life += 1
    this.disk.boot += 1
    this.#bootId = `${this.name}-boot-${this.#random.between(0, 1e9)}`
    this.#seq = 0
    this.#halted = false
    this.#everSynced = this.disk.credential !== null
    this.#ledger = new SessionLedger({
      installationId: this.engine.id,
      slotsMax: this.traits.slots,
      stopGraceMs: STOP_GRACE_MS,
      restored: [...this.disk.journal.values()],
      lastSync: this.disk.lastSync,
    })
    this.#list()
    if (this.disk.credential === null) this.#register()
    else this.#syncSoon(0)
  }

  #memoryFreeMb(): number {
    if (this.#world.now < this.crowdedUntil) return 100
    return this.engine.running().reduce((free, { script }) => free - script.memoryMb, this.traits.memoryMb)
  }

  #mono(): number {
    return this.#world.now * this.#rate
  }

  /** Runs later in this life of the daemon, and not while it is paused. */
  #later(delayMs: number, run: (ledger: SessionLedger) => void): void {
    const life = this.#life
    const attempt = () => {
      if (life !== this.#life || this.#ledger === null) return
      if (this.#world.now < this.pausedUntil)
        this.#world.after(this.pausedUntil - this.#world.now + 1, attempt)
      else run(this.#ledger)
    }
    this.#world.after(delayMs, attempt)
  }

  #register(): void {
    const hash = `hash-${this.#random.between(0, 1e12)}`
    const bootId = this.#bootId
    const boot = this.disk.boot
    this.#call(
      ctx =>
        register(ctx, {
          token_id: 'tok_1',
          name: this.name,
          boot_id: bootId,
          fresh_runner_id: `rnr_${this.#random.between(0, 1e12)}`,
          credential_hash: hash,
          boot,
          protocol: 1,
          max_concurrency: this.traits.slots,
          labels: this.traits.labels,
          version: '0.1.0',
          platform: { os: 'linux', arch: 'x64', cpus: 2, memory_mb: this.traits.memoryMb },
          engine: { id: this.engine.id, version: '20' },
        }),
      result => {
        if (result?.ok) {
          this.disk.credential = { runnerId: result.value.runner_id, hash }
          this.#syncSoon(0)
        } else this.#later(this.#random.between(1_000, 10_000), () => this.#register())
      },
    )
  }

  #syncSoon(delayMs: number): void {
    this.#later(delayMs, () => this.#sync())
  }

  #sync(): void {
    const ledger = this.#ledger
    const credential = this.disk.credential
    if (ledger === null || credential === null || this.#syncing || this.#halted) return
    this.#syncing = true
    const sentAtMs = this.#mono()
    const draft = ledger.draft(sentAtMs)
    const { leaving, ...rest } = draft
    const request: SyncRequest = {
      protocol: 1,
      boot: this.disk.boot,
      boot_id: this.#bootId,
      seq: ++this.#seq,
      ...rest,
      health: { memory_free_mb: this.#memoryFreeMb(), disk_free_mb: 10_000, load1: 0 },
      ...(leaving ? { leaving } : {}),
    }
    this.#call(
      ctx => sync(ctx, credential.runnerId, credential.hash, request),
      result => {
        this.#syncing = false
        if (result === null) return this.#syncSoon(this.#random.between(200, 3_000))
        if (!result.ok) {
          const neverWorked = result.error.code === 'unauthenticated' && !this.#everSynced
          // A registration that the network delayed has replaced the credential of a later one.
          if (neverWorked) return this.#register()
          // Another process speaks for this runner now, or nobody may: it ends what it has and stays idle.
          this.isInGoodStanding = false
          this.#halted = true
          ledger.halt(result.error.code, this.#mono())
          return this.#pump()
        }
        const reply = result.value
        this.isInGoodStanding = true
        this.#everSynced = true
        if (!reply.stale) this.disk.lastSync = { sentAtMs, leaseTtlMs: reply.lease_ttl_ms }
        ledger.applyReply(reply, sentAtMs, this.#mono())
        this.onReply(this, request, reply)
        this.#pump()
        const urgent = reply.offers.length > 0 || reply.commands.length > 0
        this.#syncSoon(
          urgent ? this.#random.between(50, 500) : reply.next_sync_in_ms * (0.9 + this.#random.next() * 0.2),
        )
      },
      (ctx, result) => {
        const fresh = result.ok && !result.value.stale
        if (fresh) this.onApplied(ctx, credential.runnerId, request, result.value)
      },
    )
  }

  /**
   * One request with everything a network does to it: lost on the way there or back, late, delivered twice.
   * `done` gets null when no answer came in time; an answer after that is not heard.
   */
  #call<T>(
    decide: (ctx: PoolContext) => Result<T>,
    done: (result: Result<T> | null) => void,
    committed: (ctx: PoolContext, result: Result<T>) => void = () => {},
  ): void {
    const life = this.#life
    let answered = false
    const finish = (result: Result<T> | null) =>
      this.#later(0, () => {
        if (answered || life !== this.#life) return
        answered = true
        done(result)
      })
    const cut = () => this.#world.now < this.weather.cutUntil
    const trouble = (probability: number) => this.weather.lossy && this.#random.chance(probability)
    const deliver = () => {
      if (cut()) return
      let result: Result<T>
      try {
        result = this.#pool.command(decide, this.#crash(trouble), committed)
      } catch (error) {
        if (error instanceof Crashed) return
        throw error
      }
      if (trouble(0.06)) return
      this.#world.after(this.#latency(), () => {
        if (!cut()) finish(result)
      })
    }
    if (!cut() && !trouble(0.05)) this.#world.after(this.#latency(), deliver)
    if (trouble(0.05)) this.#world.after(this.#latency() + this.#random.between(0, 20_000), deliver)
    this.#world.after(CLIENT_TIMEOUT_MS, () => finish(null))
  }

  #crash(trouble: (probability: number) => boolean): Crash {
    if (trouble(0.01)) return 'before_commit'
    return trouble(0.015) ? 'after_commit' : 'none'
  }

  #latency(): number {
    return this.#random.chance(0.03) ? this.#random.between(500, 12_000) : this.#random.between(5, 150)
  }

  /** Executes whatever is undone, one action per session at a time, and wakes again when time alone matters. */
  #pump(): void {
    const ledger = this.#ledger
    if (ledger === null || this.#world.now < this.pausedUntil) return
    for (const action of ledger.plan(this.#mono())) this.#execute(action)
    const due = ledger.nextDueAt()
    if (due !== null) this.#later(Math.max(1, (due - this.#mono()) / this.#rate), () => this.#pump())
  }

  #execute(action: Action): void {
    const sessionId = action.type === 'journal' ? action.entry.session_id : action.session_id
    const key = action.type === 'journal' ? `journal:${sessionId}` : sessionId
    if (this.#inFlight.has(key)) return
    if (action.type === 'terminate' && this.#terminated.has(sessionId)) return
    // A journal write still under way must not bring back what is being erased.
    if (action.type === 'erase' && this.#inFlight.has(`journal:${sessionId}`)) return
    this.#inFlight.add(key)
    const life = this.#life
    const runId = this.disk.journal.get(sessionId)?.run_id
    // The Engine does it whether or not the daemon lives to hear of it.
    this.#world.after(this.#random.between(1, 300), () => {
      const gone = life !== this.#life
      if (gone && (action.type === 'journal' || action.type === 'erase' || this.#random.chance(0.5))) return
      const seen = this.#perform(action, sessionId, runId)
      this.#later(this.#random.between(1, 100), ledger => {
        this.#inFlight.delete(key)
        if (seen !== null) ledger.observe(seen, this.#mono())
        if (seen?.type === 'prepared' || seen?.type === 'running') this.#syncSoon(10)
        this.#pump()
      })
    })
  }

  /** @param runId what the journal said of the session when the action was begun */
  #perform(
    action: Action,
    sessionId: string,
    runId: string | undefined,
  ): Parameters<SessionLedger['observe']>[0] | null {
    if (action.type === 'journal') {
      this.disk.journal.set(sessionId, action.entry)
      return { type: 'journaled', entry: action.entry }
    }
    if (action.type === 'erase') {
      this.disk.journal.delete(sessionId)
      return { type: 'erased', session_id: sessionId }
    }
    if (this.engine.isDown) return null
    const container = this.engine.containers.get(sessionId)
    switch (action.type) {
      case 'prepare':
        return this.#prepare(sessionId, action.job.image)
      case 'create': {
        const script = runId === undefined ? undefined : this.#scripts.get(runId)
        if (runId === undefined || script === undefined)
          throw new Error(`${sessionId} is created without a journal entry`)
        this.engine.create(sessionId, runId, script)
        return { type: 'created', session_id: sessionId }
      }
      case 'start': {
        this.engine.start(sessionId)
        const started = this.engine.containers.get(sessionId)
        if (started?.state === 'running') this.#watch(started)
        return started === undefined ? null : this.#found(started, 'observation')
      }
      case 'terminate':
      case 'kill':
        if (action.type === 'terminate') this.#terminated.add(sessionId)
        if (container?.state !== 'running') {
          return { type: 'not_running', session_id: sessionId, container: container !== undefined }
        }
        if (action.type === 'terminate') this.engine.terminate(sessionId)
        else this.engine.kill(sessionId)
        this.#watch(container)
        return null
      case 'remove':
        this.engine.remove(sessionId)
        return { type: 'removed', session_id: sessionId }
    }
  }

  #prepare(sessionId: string, image: string): Parameters<SessionLedger['observe']>[0] {
    const failed = (reason: ExitReason) =>
      ({ type: 'failed', session_id: sessionId, exit: { code: null, reason }, container: false }) as const
    if (image === this.traits.refuses) return failed('policy_denied')
    if (this.#world.now < this.registryDownUntil) return failed('pull_failed')
    return { type: 'prepared', session_id: sessionId, image_digest: 'sha256:0' }
  }

  /** The Engine's own event when a container ends. */
  #watch(container: Container): void {
    if (this.#watched.has(container.sessionId)) return
    this.#watched.add(container.sessionId)
    const life = this.#life
    container.watchers.add(() => {
      if (life !== this.#life) return
      this.#later(this.#random.between(1, 400), ledger => {
        ledger.observe(this.#found(container, 'observation'), this.#mono())
        this.#pump()
        this.#syncSoon(5)
      })
    })
  }

  /** Lists the Engine every few seconds, as a daemon does to find what it missed. */
  #list(): void {
    const asOfMs = this.#mono()
    const down = this.engine.isDown
    const found = [...this.engine.containers.values()].map(container => this.#found(container, 'listing'))
    this.#later(this.#random.between(1, 300), ledger => {
      if (down) ledger.observe({ type: 'listing_failed' }, this.#mono())
      else ledger.observe({ type: 'listing', asOfMs, found }, this.#mono())
      for (const container of this.engine.running()) this.#watch(container)
      this.#pump()
      this.#later(this.#random.between(3_000, 8_000), () => this.#list())
    })
  }

  #found(container: Container, as: 'listing'): Found
  #found(
    container: Container,
    as: 'observation',
  ): Parameters<SessionLedger['observe']>[0] & { type: 'created' | 'running' | 'exited' }
  #found(container: Container, as: 'listing' | 'observation') {
    const started = container.startedAt ?? 0
    const finished = container.finishedAt ?? 0
    const who = { session_id: container.sessionId, ...(as === 'listing' ? { image_digest: 'sha256:0' } : {}) }
    const key = as === 'listing' ? 'state' : 'type'
    switch (container.state) {
      case 'created':
        return { ...who, [key]: 'created' } as never
      case 'running':
        return {
          ...who,
          [key]: 'running',
          startedAtMs: started * this.#rate,
          started_at: timestamp(started),
        } as never
      case 'exited':
        return {
          ...who,
          [key]: 'exited',
          exit: { code: container.exitCode, reason: 'exited' },
          started_at: timestamp(started),
          finished_at: timestamp(finished),
          finishedAtMs: finished * this.#rate,
          notices: [],
        } as never
    }
  }
}
