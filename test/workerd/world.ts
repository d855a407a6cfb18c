import {
  abortAllDurableObjects,
  evictDurableObject,
  runDurableObjectAlarm,
  runInDurableObject,
} from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { vi } from 'vitest'
import {
  DOORBELL_HEADERS,
  type NewRun,
  type PoolIdentity,
  type Registration,
  type RunnerPoolRpc,
} from '../../durable-objects/runner-pool/rpc.ts'
import type { Result } from '../../protocol/errors.ts'
import type { Run } from '../../protocol/run.ts'
import type { LeaseReport, SyncRequest, SyncResponse } from '../../protocol/runner-api.ts'
import type { Env, PoolStub } from '../../worker/env.ts'
import { mintId } from '../../worker/ids.ts'

/** What the object uses of D1. */
type UsedD1 = Pick<D1Database, 'prepare' | 'batch'>

const NAMESPACE = (env as unknown as Env).RUNNER_POOL

export function pass(ms: number): void {
  vi.setSystemTime(Date.now() + ms)
}

/** @throws the refusal's code */
export function value<T>(result: Result<T>): T {
  if (!result.ok) throw new Error(result.error.code)
  return result.value
}

/** `ok` or the refusal's code: what most expectations are about. */
export function outcome(result: Result<unknown>): string {
  return result.ok ? 'ok' : result.error.code
}

/** A pool's real object. Every call takes a stub of its own, because a stub does not outlive an abort. */
export class TestPool {
  readonly identity: PoolIdentity = {
    tenant_id: mintId('tenant'),
    tenant_slug: 'acme',
    pool_id: mintId('pool'),
  }

  static async create(): Promise<TestPool> {
    const pool = new TestPool()
    await pool.rpc.initialise(pool.identity)
    return pool
  }

  get id(): string {
    return this.identity.pool_id
  }

  get rpc(): PoolStub {
    return NAMESPACE.getByName(this.id)
  }

  get #stub(): DurableObjectStub {
    return env.RUNNER_POOL.getByName(this.id)
  }

  inside<T>(look: (state: DurableObjectState) => T | Promise<T>): Promise<T> {
    return runInDurableObject(this.#stub, (_, state) => look(state))
  }

  /** Calls the object from inside, where what it throws can be caught. @returns what that said, or null */
  async thrownBy(call: (object: RunnerPoolRpc) => Promise<unknown>): Promise<string | null> {
    return await runInDurableObject<DurableObject & RunnerPoolRpc, string | null>(this.#stub, object =>
      call(object).then(
        () => null,
        error => String(error),
      ),
    )
  }

  rows(query: string, ...bindings: (string | number)[]): Promise<Record<string, unknown>[]> {
    return this.inside(state => state.storage.sql.exec(query, ...bindings).toArray())
  }

  alarmAt(): Promise<number | null> {
    return this.inside(state => state.storage.getAlarm())
  }

  loseAlarm(): Promise<void> {
    return this.inside(state => state.storage.deleteAlarm())
  }

  /** Runs the alarm, whatever it is armed for. @returns whether one was armed */
  alarm(): Promise<boolean> {
    return runDurableObjectAlarm(this.#stub)
  }

  /** Lets the time of the alarm come, and the alarm with it. */
  async nextAlarm(): Promise<void> {
    const at = await this.alarmAt()
    if (at === null) throw new Error('no alarm is armed')
    pass(Math.max(0, at - Date.now()))
    await this.alarm()
  }

  /** Lets time go by, with every alarm that falls due in it. */
  async passWithAlarms(ms: number): Promise<void> {
    const end = Date.now() + ms
    for (let at = await this.alarmAt(); at !== null && at <= end; at = await this.alarmAt()) {
      await this.nextAlarm()
    }
    pass(end - Date.now())
  }

  openSockets(): Promise<number> {
    return this.inside(
      state => state.getWebSockets().filter(socket => socket.readyState === WebSocket.OPEN).length,
    )
  }

  /** Hands the object another D1, until its next sleep. */
  async replaceD1(replace: (database: D1Database) => UsedD1): Promise<void> {
    await runInDurableObject<DurableObject & { env: { DB: UsedD1 } }, void>(this.#stub, object => {
      object.env = { ...object.env, DB: replace(env.DB) }
    })
  }

  /** Hibernation: the memory goes, the sockets stay. */
  evict(): Promise<void> {
    return evictDurableObject(this.#stub)
  }

  async enqueue(more: Partial<NewRun> = {}): Promise<Run> {
    return value(await this.rpc.enqueue(newRun(more))).run
  }

  async run(runId: string): Promise<Run> {
    return value(await this.rpc.getRun(runId))
  }

  /** Event types that D1 has of a run, in order. */
  async projectedEvents(runId: string): Promise<string[]> {
    const { results } = await env.DB.prepare(
      'SELECT document FROM run_events WHERE run_id = ? AND tenant_id = ? ORDER BY seq',
    )
      .bind(runId, this.identity.tenant_id)
      .all<{ document: string }>()
    return results.map(row => JSON.parse(row.document).type)
  }

  async projectedRun(runId: string): Promise<unknown> {
    const document = await env.DB.prepare('SELECT document FROM runs WHERE id = ? AND tenant_id = ?')
      .bind(runId, this.identity.tenant_id)
      .first<string>('document')
    return document === null ? null : JSON.parse(document)
  }
}

/** A crash of every object: memory and sockets go, storage stays. */
export function abortAll(): Promise<void> {
  return abortAllDurableObjects()
}

export function newRun(more: Partial<NewRun> = {}): NewRun {
  return {
    run_id: mintId('run'),
    environment_id: mintId('environment'),
    image: 'docker.io/certyn/agent:v0.1.0',
    command: ['npm', 'test'],
    env: {},
    timeout_seconds: 3_600,
    queue_timeout_seconds: 86_400,
    priority: 0,
    labels: {},
    resources: {},
    stream: true,
    max_attempts: 2,
    metadata: {},
    ...more,
  }
}

/** A runner's process that says what the test has it say. */
export class TestRunner {
  readonly id: string
  hash: string
  seq = 0
  readonly pool: TestPool
  readonly #registration: Registration

  private constructor(pool: TestPool, id: string, registration: Registration) {
    this.pool = pool
    this.id = id
    this.hash = registration.credential_hash
    this.#registration = registration
  }

  static async register(pool: TestPool, more: Partial<Registration> = {}): Promise<TestRunner> {
    const registration = newRegistration(more)
    const { runner_id } = value(await pool.rpc.register(registration))
    return new TestRunner(pool, runner_id, registration)
  }

  request(leases: readonly LeaseReport[] = [], more: Partial<SyncRequest> = {}): SyncRequest {
    return {
      protocol: 1,
      boot: this.#registration.boot,
      boot_id: this.#registration.boot_id,
      seq: ++this.seq,
      draining: false,
      inventory: 'complete',
      slots: { max: this.#registration.max_concurrency },
      leases: [...leases],
      acks: [],
      ...more,
    }
  }

  trySync(
    leases: readonly LeaseReport[] = [],
    more: Partial<SyncRequest> = {},
  ): Promise<Result<SyncResponse>> {
    return this.pool.rpc.sync(this.id, this.hash, this.request(leases, more))
  }

  /** @throws the refusal's code */
  async sync(leases: readonly LeaseReport[] = [], more: Partial<SyncRequest> = {}): Promise<SyncResponse> {
    return value(await this.trySync(leases, more))
  }

  /** Syncs for the one offer that waits. @returns its session id */
  async offered(): Promise<string> {
    const { offers } = await this.sync()
    const [offer] = offers
    if (offer === undefined || offers.length > 1) throw new Error(`${offers.length} offers, expected one`)
    return offer.session_id
  }

  dial(hash = this.hash): Promise<Response> {
    const headers = {
      upgrade: 'websocket',
      [DOORBELL_HEADERS.runnerId]: this.id,
      [DOORBELL_HEADERS.credentialHash]: hash,
    }
    return this.pool.rpc.fetch(new Request('https://pool.internal/doorbell', { headers }))
  }

  async doorbell(): Promise<Doorbell> {
    const { webSocket, status } = await this.dial()
    if (webSocket === null) throw new Error(`the doorbell was refused with ${status}`)
    return new Doorbell(webSocket)
  }
}

/** The runner's end of its doorbell. */
export class Doorbell {
  /** Resolves with the close code. */
  readonly closed: Promise<number>
  readonly #socket: WebSocket
  readonly #heard: string[] = []
  #waiting: (() => void) | null = null

  constructor(socket: WebSocket) {
    this.#socket = socket
    socket.addEventListener('message', ({ data }) => {
      this.#heard.push(String(data))
      this.#waiting?.()
    })
    this.closed = new Promise(resolve => socket.addEventListener('close', ({ code }) => resolve(code)))
    socket.accept()
  }

  /** What is left of a runner whose host was switched off: the object hears of the close. */
  cut(): void {
    this.#socket.close(1001)
  }

  async next(): Promise<string> {
    for (;;) {
      const message = this.#heard.shift()
      if (message !== undefined) return message
      await new Promise<void>(resolve => {
        this.#waiting = resolve
      })
    }
  }

  /** How often it rang since the last look. A socket keeps its order, so the pong comes after every ring. */
  async rings(): Promise<number> {
    this.#socket.send('ping')
    for (let rings = 0; ; rings++) {
      const message = await this.next()
      if (message === 'pong') return rings
      if (message !== 'ring') throw new Error(`the doorbell said ${message}`)
    }
  }
}

export function newRegistration(more: Partial<Registration> = {}): Registration {
  const name = more.name ?? `runner-${crypto.randomUUID().slice(0, 8)}`
  return {
    token_id: 'tok_1',
    name,
    boot_id: crypto.randomUUID(),
    fresh_runner_id: mintId('runner'),
    credential_hash: hashOf(name),
    boot: 1,
    protocol: 1,
    max_concurrency: 2,
    labels: {},
    version: '0.1.0',
    platform: { os: 'linux', arch: 'x64', cpus: 4, memory_mb: 8_192 },
    engine: { id: `engine-of-${name}`, version: '28' },
    ...more,
  }
}

/** Something of a hash's shape; the object never sees the secret itself. */
export function hashOf(name: string): string {
  return [...new TextEncoder().encode(name.padEnd(32, '.').slice(-32))]
    .map(byte => byte.toString(16).padStart(2, '0'))
    .join('')
}

export function running(session_id: string): LeaseReport {
  return { session_id, state: 'running' }
}

export function exited(session_id: string, code: number | null = 0): LeaseReport {
  return { session_id, state: 'exited', exit: { code, reason: 'exited' } }
}
