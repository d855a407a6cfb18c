import {
  CreatedRegistrationToken,
  CreatedTenant,
  Environment,
  Pool,
  pageOf,
  Runner,
} from '../../protocol/admin-api.ts'
import { CreatedLiveLink } from '../../protocol/live.ts'
import {
  isTerminal,
  Run,
  type RunEvent,
  RunEvent as RunEventSchema,
  TERMINAL_STATUSES,
} from '../../protocol/run.ts'
import type { WatchMode } from '../../protocol/stream.ts'
import { type Api, apiClient } from '../../scripts/up/api.ts'
import { newFolder } from './folders.ts'
import { type Program, startProgram } from './process.ts'
import { until } from './until.ts'

export const OPERATOR_KEY = 'operator-key-of-the-e2e-tests'

/** Short enough that a test can outlive a lease, long enough for a busy machine. */
const SETTINGS = {
  Features__SelfHostedRunnersEnabled: 'true',
  SelfHosted__LeaseTtlSeconds: '12',
  SelfHosted__LeaseGraceSeconds: '3',
  SelfHosted__OfferTtlSeconds: '15',
  SelfHosted__SyncIdleSeconds: '1',
}

/** The embedded control plane on a state folder of its own; it can be killed and started again on it. */
export class ControlPlane {
  readonly stateDir: string
  readonly #settings: Readonly<Record<string, string>>
  #program: Program | undefined
  #port = 0

  constructor(settings: Readonly<Record<string, string>> = {}, stateDir = newFolder('control-plane')) {
    this.stateDir = stateDir
    this.#settings = { ...SETTINGS, OPERATOR_KEY, ...settings }
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  get output(): string {
    return this.#program?.output() ?? ''
  }

  /** Resolves when it answers. After the first start the port stays the same. */
  async start(): Promise<this> {
    const args = ['--port', String(this.#port), '--state-dir', this.stateDir]
    const program = startProgram('scripts/control-plane/main.ts', args, this.#settings)
    this.#program = program
    let ended = false
    void program.exited.then(() => {
      ended = true
    })
    const port = await until('the control plane is ready', () => {
      if (ended) throw new Error(`the control plane ended:\n${program.output()}`)
      return /ready on http:\/\/127\.0\.0\.1:(\d+)/.exec(program.output())?.[1]
    })
    this.#port = Number(port)
    return this
  }

  async kill(): Promise<void> {
    await this.#program?.end('SIGKILL')
  }

  /** The process that the Worker runs in dies in the same moment, rather than for want of its parent. */
  async killGroup(): Promise<void> {
    if (this.#program === undefined) return
    process.kill(-this.#program.pid, 'SIGKILL')
    await this.#program.exited
  }

  async stop(): Promise<void> {
    await this.#program?.end('SIGTERM')
  }

  /** @returns the admin key of a new tenant that has nothing yet */
  async adminKey(name?: string): Promise<string> {
    const slug = `t-${crypto.randomUUID().slice(0, 8)}`
    const operator = apiClient(this.url, OPERATOR_KEY)
    const created = await operator.post('/tenants', { slug, name: name ?? slug }, CreatedTenant)
    return created.api_key.secret
  }

  /** A new tenant with a pool and an environment that runs on it. */
  async tenant(): Promise<Tenant> {
    const api = apiClient(this.url, await this.adminKey())
    const pool = await api.post('/pools', { name: 'pool' }, Pool)
    const environment = await api.post(
      '/environments',
      { name: 'staging', execution_target: 'self_hosted', pool_id: pool.id },
      Environment,
    )
    return new Tenant(api, pool.id, environment.id)
  }
}

export class Tenant {
  readonly api: Api
  readonly poolId: string
  readonly environmentId: string

  constructor(api: Api, poolId: string, environmentId: string) {
    this.api = api
    this.poolId = poolId
    this.environmentId = environmentId
  }

  async token(body: unknown = {}): Promise<string> {
    const created = await this.api.post(
      `/pools/${this.poolId}/registration-tokens`,
      body,
      CreatedRegistrationToken,
    )
    return created.secret
  }

  run(body: Readonly<Record<string, unknown>>): Promise<Run> {
    return this.api.post(`/environments/${this.environmentId}/runs`, { stream: false, ...body }, Run)
  }

  async runs(): Promise<Run[]> {
    return (await this.api.get(`/runs?environment_id=${this.environmentId}&limit=200`, pageOf(Run))).items
  }

  get(runId: string): Promise<Run> {
    return this.api.get(`/runs/${runId}`, Run)
  }

  cancel(runId: string): Promise<Run> {
    return this.api.post(`/runs/${runId}/cancel`, {}, Run)
  }

  /** @returns a link for a browser, and its id */
  liveLink(runId: string, mode: WatchMode = 'view', maxViewers = 10): Promise<{ id: string; url: string }> {
    const body = { mode, expires_in_seconds: 3600, max_viewers: maxViewers }
    return this.api.post(`/runs/${runId}/live-links`, body, CreatedLiveLink)
  }

  async revokeLink(linkId: string): Promise<void> {
    await this.api.remove(`/live-links/${linkId}`)
  }

  async events(runId: string): Promise<RunEvent[]> {
    return (await this.api.get(`/runs/${runId}/events?limit=200`, pageOf(RunEventSchema))).items
  }

  /** Everything that happened to an ended run: its events may lag behind it. */
  async eventsToEnd(runId: string): Promise<RunEvent[]> {
    return until(`the end of ${runId} is among its events`, async () => {
      const events = await this.events(runId)
      return endsAmong(events).length > 0 && events
    })
  }

  async runners(): Promise<Runner[]> {
    return (await this.api.get(`/pools/${this.poolId}/runners`, pageOf(Runner))).items
  }

  pool(): Promise<Pool> {
    return this.api.get(`/pools/${this.poolId}`, Pool)
  }

  /** Waits until the run has one of these statuses; any end counts as an answer. */
  async reaches(runId: string, ...statuses: readonly Run['status'][]): Promise<Run> {
    return until(`${runId} is ${statuses.join(' or ')}`, async () => {
      const run = await this.get(runId)
      return statuses.includes(run.status) || isTerminal(run.status) ? run : undefined
    })
  }

  async ends(runId: string): Promise<Run> {
    return until(`${runId} ends`, async () => {
      const run = await this.get(runId)
      return isTerminal(run.status) ? run : undefined
    })
  }
}

/** How often a run ended: once, if all is well. */
export function endsAmong(events: readonly RunEvent[]): RunEvent[] {
  return events.filter(event => TERMINAL_STATUSES.some(status => status === event.type))
}
