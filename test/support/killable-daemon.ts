import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { type SessionState, SyncRequest, SyncResponse } from '../../protocol/runner-api.ts'
import { Checkpoint, type Passing } from './checkpoint.ts'
import type { ControlPlane, Tenant } from './control-plane.ts'
import { engineSocket } from './engine.ts'
import { newFolder } from './folders.ts'
import { Daemon } from './runner.ts'
import { until } from './until.ts'

/** What has taken effect in the Engine so far. */
export interface Progress {
  readonly created: boolean
  readonly started: boolean
  readonly ended: boolean
}

/** A call to the Engine, or a sync with its reply where there is one yet. */
export type Crossing =
  | { readonly to: 'engine'; readonly call: Passing; readonly progress: Progress }
  | { readonly to: 'control plane'; readonly request: SyncRequest; readonly reply: SyncResponse | null }

export interface Fate {
  /** The call that the daemon is killed at. */
  readonly killAt?: (crossing: Crossing) => boolean
  /** Whether it is killed at that sync only when its journal knows every session that is listed. */
  readonly journaled?: boolean
  /** The call that is held until the daemon is dead. */
  readonly holdAt?: (crossing: Crossing) => boolean
  /** See journal-fault.mjs. */
  readonly journalFault?: string
}

const ENTRY = z.object({ step: z.string() })
const CREATED = z.object({ Id: z.string() })
const STEPS_THAT_MAY_START = ['creating', 'created', 'ended']

/**
 * A runner daemon with a checkpoint on each of its two ways out. It is killed once, where its fate says, and whatever
 * it does is held against the rules that no crash may break: nothing is created or started that the journal does not
 * know, and nothing is removed that the control plane has not given up.
 */
export class KillableDaemon {
  /** The rules that were broken, in words. */
  readonly broken: string[] = []
  readonly tenant: Tenant
  readonly #fate: Fate
  readonly #sessions = new Map<string, string>()
  readonly #released = new Set<string>()
  readonly #death = Promise.withResolvers<void>()
  readonly #done = join(newFolder('fault'), 'done')
  #onState: (sessionId: string, state: SessionState) => void = () => undefined
  #progress: Progress = { created: false, started: false, ended: false }
  #phase: 'safe' | 'doomed' | 'dead' = 'safe'
  #daemon: Daemon | undefined
  #checkpoints: Checkpoint[] = []

  private constructor(tenant: Tenant, fate: Fate) {
    this.tenant = tenant
    this.#fate = fate
  }

  static async of(controlPlane: ControlPlane, tenant: Tenant, name: string, fate: Fate) {
    const self = new KillableDaemon(tenant, fate)
    const socket = join(newFolder('engine'), 'engine.sock')
    const engine = await Checkpoint.before({ socketPath: engineSocket() }, socket, passing =>
      self.#atEngine(passing),
    )
    const { hostname, port } = new URL(controlPlane.url)
    const api = await Checkpoint.before({ host: hostname, port: Number(port) }, 0, passing =>
      self.#atControlPlane(passing),
    )
    self.#checkpoints = [engine, api]
    const preload = new URL('journal-fault.mjs', import.meta.url).href
    const fault = fate.journalFault
    const env = {
      DOCKER_HOST: engine.url,
      CONTROL_PLANE_URL: api.url,
      ...(fault !== undefined && {
        NODE_OPTIONS: `--import ${preload}`,
        TEST_JOURNAL_FAULT: fault,
        TEST_JOURNAL_FAULT_DONE: self.#done,
      }),
    }
    self.#daemon = await Daemon.of(controlPlane, tenant, { name, env })
    await self.daemon.online(tenant)
    return self
  }

  get daemon(): Daemon {
    if (this.#daemon === undefined) throw new Error('it was never started')
    return this.#daemon
  }

  /** Called with every state of a session that the control plane is known to have heard. */
  onState(listener: (sessionId: string, state: SessionState) => void): void {
    this.#onState = listener
  }

  /** From now on its fate can meet it. */
  doom(): void {
    this.#phase = 'doomed'
  }

  /** Waits until it was killed where its fate says. */
  async dies(): Promise<void> {
    await until('the daemon dies where it should', () => this.daemon.hasEnded())
    this.#die()
    await this.daemon.end('SIGKILL')
  }

  /** The next process of the same runner, which nothing happens to. */
  async startNext(): Promise<void> {
    this.#phase = 'safe'
    await this.daemon.online(this.tenant)
  }

  async destroy(): Promise<void> {
    await this.daemon.end('SIGKILL')
    for (const checkpoint of this.#checkpoints) await checkpoint.close()
  }

  #atEngine(call: Passing): Promise<boolean> {
    const [, , container = '', action = ''] = call.path.split(/[/?]/)
    if (call.path.startsWith('/containers/')) {
      if (call.reply === null) this.#check(call, container, action)
      else this.#learn(call, container, action)
    }
    return this.#decide({ to: 'engine', call, progress: this.#progress })
  }

  async #atControlPlane({ path, request, reply }: Passing): Promise<boolean> {
    if (!path.endsWith('/sync') || (reply !== null && reply.status !== 200)) return this.#phase !== 'dead'
    const sync = SyncRequest.parse(JSON.parse(request))
    const answer = reply === null ? null : SyncResponse.parse(JSON.parse(reply.text))
    if (!(await this.#decide({ to: 'control plane', request: sync, reply: answer }))) return false
    if (answer !== null) this.#hear(sync, answer)
    return true
  }

  async #decide(crossing: Crossing): Promise<boolean> {
    if (this.#phase === 'doomed' && this.#fate.holdAt?.(crossing)) await this.#death.promise
    if (this.#phase === 'doomed' && this.#fate.killAt?.(crossing)) {
      if (this.#fate.journaled && crossing.to === 'control plane') {
        await until('the journal knows the session', () =>
          crossing.request.leases.every(lease => this.#stepOf(lease.session_id) !== null),
        )
      }
      this.#die()
    }
    return this.#phase !== 'dead'
  }

  /** Nothing that it still has on its way gets through either. */
  #die(): void {
    if (this.#phase !== 'doomed') return
    this.daemon.signal('SIGKILL')
    this.#phase = 'dead'
    for (const checkpoint of this.#checkpoints) checkpoint.sever()
    this.#death.resolve()
  }

  #check({ method, path }: Passing, container: string, action: string): void {
    const isCreate = container === 'create'
    if (method === 'POST' && (isCreate || action === 'start')) {
      const sessionId = isCreate ? sessionCreatedBy(path) : this.#sessionOf(container)
      const step = this.#stepOf(sessionId)
      if (step === null || !STEPS_THAT_MAY_START.includes(step)) {
        this.broken.push(`${isCreate ? 'create' : 'start'} of ${sessionId} with its journal at ${step}`)
      }
    }
    if (method === 'DELETE' && !this.#released.has(this.#sessionOf(container))) {
      this.broken.push(`removal of ${this.#sessionOf(container)}, which nobody has given up`)
    }
  }

  #learn({ path, reply }: Passing, container: string, action: string): void {
    if (container === 'create' && reply?.status === 201) {
      this.#sessions.set(CREATED.parse(JSON.parse(reply.text)).Id, sessionCreatedBy(path))
      this.#progress = { ...this.#progress, created: true }
    }
    // The reply to a create can be lost on the way to this process as well.
    if (container.startsWith('certyn-') && action === 'json' && reply?.status === 200) {
      this.#sessions.set(CREATED.parse(JSON.parse(reply.text)).Id, this.#sessionOf(container))
    }
    if (action === 'start' && reply?.status === 204) this.#progress = { ...this.#progress, started: true }
    if (action === 'wait' && reply?.text.includes('StatusCode')) {
      this.#progress = { ...this.#progress, ended: true }
    }
  }

  #hear({ leases }: SyncRequest, reply: SyncResponse): void {
    for (const { session_id, verdict } of reply.leases) {
      if (verdict !== 'keep') this.#released.add(session_id)
    }
    for (const { type, session_id } of reply.commands) {
      if (type === 'stop_session') this.#released.add(session_id)
    }
    for (const { session_id, state } of leases) this.#onState(session_id, state)
  }

  /** @param container its name or its id */
  #sessionOf(container: string): string {
    return this.#sessions.get(container) ?? container.replace(/^certyn-/, '')
  }

  #stepOf(sessionId: string): string | null {
    try {
      const file = join(this.daemon.stateDir, 'journal', `${sessionId}.json`)
      return ENTRY.parse(JSON.parse(readFileSync(file, 'utf8'))).step
    } catch {
      return null
    }
  }
}

function sessionCreatedBy(path: string): string {
  return /[?&]name=certyn-([^&]+)/.exec(path)?.[1] ?? ''
}
