import { type Exit, RegisterResponse, SyncResponse } from '../../protocol/runner-api.ts'

/** A runner without a host: joins a pool, takes leases and reports what it is told to, over the runner's own API. */

export interface PretendRunnerOptions {
  readonly origin: string
  readonly poolId: string
  readonly registrationToken: string
  readonly name: string
  readonly slots?: number
  readonly version?: string
  readonly labels?: Readonly<Record<string, string>>
}

interface Held {
  readonly startedAt: string
  exit: Exit | null
}

const PROTOCOL = 1

export class PretendRunner {
  readonly name: string
  readonly #path: string
  readonly #credential: string
  readonly #bootId: string
  readonly #slots: number
  /** By session. */
  readonly #held = new Map<string, Held>()
  #seq = 0

  private constructor(options: PretendRunnerOptions, bootId: string, joined: RegisterResponse) {
    this.name = options.name
    this.#slots = options.slots ?? 2
    this.#bootId = bootId
    this.#credential = joined.credential
    this.#path = `${options.origin}/runner/v1/pools/${options.poolId}/runners/${joined.runner_id}`
  }

  static async join(options: PretendRunnerOptions): Promise<PretendRunner> {
    const { origin, poolId, registrationToken, name, slots = 2, version = '0.1.0', labels = {} } = options
    const bootId = crypto.randomUUID()
    const body = {
      protocol: PROTOCOL,
      pool_id: poolId,
      registration_token: registrationToken,
      name,
      boot: 1,
      boot_id: bootId,
      max_concurrency: slots,
      labels,
      version,
      platform: { os: 'linux', arch: 'x64', cpus: 8, memory_mb: 32_768 },
      engine: { id: bootId, version: '28.2.2' },
    }
    const joined = RegisterResponse.parse(await post(`${origin}/runner/v1/register`, body))
    const runner = new PretendRunner(options, bootId, joined)
    await runner.sync()
    return runner
  }

  /** Reports what it holds and takes what it is offered. @returns the runs that it was offered by this */
  async sync(): Promise<string[]> {
    const leases = [...this.#held].map(([session_id, { startedAt, exit }]) => ({
      session_id,
      state: exit === null ? 'running' : 'exited',
      started_at: startedAt,
      ...(exit !== null && { exit, finished_at: new Date().toISOString() }),
    }))
    const body = {
      protocol: PROTOCOL,
      boot: 1,
      boot_id: this.#bootId,
      seq: ++this.#seq,
      draining: false,
      inventory: 'complete',
      slots: { max: this.#slots },
      leases,
      acks: [],
    }
    const answer = SyncResponse.parse(await post(`${this.#path}/sync`, body, this.#credential))
    for (const { session_id, verdict } of answer.leases) if (verdict !== 'keep') this.#held.delete(session_id)
    const startedAt = new Date().toISOString()
    for (const { session_id } of answer.offers) this.#held.set(session_id, { startedAt, exit: null })
    return answer.offers.map(({ run_id }) => run_id)
  }

  /** Everything it holds has come to this end; the next sync reports it. */
  endAll(exit: Exit): void {
    for (const held of this.#held.values()) held.exit = exit
  }
}

async function post(url: string, body: object, credential?: string): Promise<unknown> {
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(credential !== undefined && { authorization: `Bearer ${credential}` }),
    },
    body: JSON.stringify(body),
  })
  if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`)
  return await response.json()
}
