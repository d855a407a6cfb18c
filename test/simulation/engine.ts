import type { Clockwork } from './clockwork.ts'
import type { Random } from './random.ts'

/** What a run's command would do if nobody interfered; fixed per run, so that its true result is known. */
export interface Script {
  readonly durationMs: number
  readonly exitCode: number
  readonly ignoresTerm: boolean
  readonly memoryMb: number
}

export interface Container {
  readonly sessionId: string
  readonly runId: string
  readonly script: Script
  state: 'created' | 'running' | 'exited'
  startedAt: number | null
  finishedAt: number | null
  exitCode: number | null
  /** Told once, when it exits. */
  readonly watchers: Set<() => void>
}

/** Where the invariants look on. */
export interface EngineWatch {
  started(container: Container, engine: Engine): void
  removed(container: Container): void
}

/** A container Engine that outlives the daemon, answers late and is sometimes down. */
export class Engine {
  readonly id: string
  readonly containers = new Map<string, Container>()
  downUntil = 0
  readonly #world: Clockwork
  readonly #random: Random
  readonly #watch: EngineWatch
  readonly #created = new Set<string>()

  constructor(id: string, world: Clockwork, random: Random, watch: EngineWatch) {
    this.id = id
    this.#world = world
    this.#random = random
    this.#watch = watch
  }

  get isDown(): boolean {
    return this.#world.now < this.downUntil
  }

  /** Names are unique: a second create of a session finds the first. */
  create(sessionId: string, runId: string, script: Script): void {
    if (this.containers.has(sessionId)) return
    if (this.#created.has(sessionId)) throw new Error(`I3: a second container for session ${sessionId}`)
    this.#created.add(sessionId)
    this.containers.set(sessionId, {
      sessionId,
      runId,
      script,
      state: 'created',
      startedAt: null,
      finishedAt: null,
      exitCode: null,
      watchers: new Set(),
    })
  }

  start(sessionId: string): void {
    const container = this.containers.get(sessionId)
    if (container?.state !== 'created') return
    container.state = 'running'
    container.startedAt = this.#world.now
    this.#watch.started(container, this)
    this.#world.after(container.script.durationMs, () => this.#exit(container, container.script.exitCode))
  }

  terminate(sessionId: string): void {
    const container = this.containers.get(sessionId)
    if (container === undefined || container.script.ignoresTerm) return
    this.#world.after(this.#random.between(0, 500), () => this.#exit(container, 143))
  }

  kill(sessionId: string): void {
    const container = this.containers.get(sessionId)
    if (container !== undefined) this.#exit(container, 137)
  }

  remove(sessionId: string): void {
    const container = this.containers.get(sessionId)
    if (container?.state === 'running') throw new Error(`a running container was removed: ${sessionId}`)
    if (container !== undefined) this.#watch.removed(container)
    this.containers.delete(sessionId)
  }

  running(): Container[] {
    return [...this.containers.values()].filter(container => container.state === 'running')
  }

  #exit(container: Container, code: number): void {
    if (container.state !== 'running') return
    container.state = 'exited'
    container.exitCode = code
    container.finishedAt = this.#world.now
    for (const watcher of container.watchers) watcher()
    container.watchers.clear()
  }
}
