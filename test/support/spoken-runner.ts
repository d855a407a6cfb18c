import { randomUUID } from 'node:crypto'
import { WebSocket } from 'ws'
import { type LeaseReport, type Offer, RegisterResponse, SyncResponse } from '../../protocol/runner-api.ts'
import type { ControlPlane, Tenant } from './control-plane.ts'

/** A runner that says over HTTP what the test has it say, and nothing by itself. */
export class SpokenRunner {
  readonly id: string
  readonly #url: string
  readonly #credential: string
  readonly #bootId: string
  readonly #slots: number
  #seq = 0

  private constructor(url: string, registered: RegisterResponse, bootId: string, slots: number) {
    this.id = registered.runner_id
    this.#url = `${url}/runner/v1/pools/${registered.pool_id}/runners/${registered.runner_id}`
    this.#credential = registered.credential
    this.#bootId = bootId
    this.#slots = slots
  }

  static async join({ url }: ControlPlane, tenant: Tenant, slots = 3): Promise<SpokenRunner> {
    const bootId = randomUUID()
    const answer = await SpokenRunner.register(url, tenant.poolId, await tenant.token(), bootId, slots)
    return new SpokenRunner(url, RegisterResponse.parse(await answer.json()), bootId, slots)
  }

  static register(url: string, poolId: string, token: string, bootId: string, slots = 3): Promise<Response> {
    return fetch(`${url}/runner/v1/register`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        protocol: 1,
        pool_id: poolId,
        registration_token: token,
        name: `spoken-${bootId}`,
        boot: 1,
        boot_id: bootId,
        max_concurrency: slots,
        version: '0.1.0',
        platform: { os: 'linux', arch: 'x64', cpus: 4, memory_mb: 8192 },
      }),
    })
  }

  trySync(leases: readonly LeaseReport[] = [], credential = this.#credential): Promise<Response> {
    this.#seq += 1
    return fetch(`${this.#url}/sync`, {
      method: 'POST',
      headers: { authorization: `Bearer ${credential}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        protocol: 1,
        boot: 1,
        boot_id: this.#bootId,
        seq: this.#seq,
        draining: false,
        inventory: 'complete',
        slots: { max: this.#slots },
        leases,
        acks: [],
      }),
    })
  }

  async sync(leases: readonly LeaseReport[] = []): Promise<SyncResponse> {
    const answer = await this.trySync(leases)
    if (!answer.ok) throw new Error(`the sync was answered with ${answer.status}: ${await answer.text()}`)
    return SyncResponse.parse(await answer.json())
  }

  /** Takes what is offered now and says that it runs. */
  async takeAll(): Promise<readonly Offer[]> {
    const { offers } = await this.sync()
    await this.sync(offers.map(({ session_id }) => ({ session_id, state: 'running' })))
    return offers
  }

  /** Its line to the session's relay, open. */
  publish(sessionId: string): Promise<WebSocket> {
    const headers = { authorization: `Bearer ${this.#credential}` }
    return opened(
      new WebSocket(`${this.#url.replace('http', 'ws')}/sessions/${sessionId}/relay`, { headers }),
    )
  }
}

/** @throws when the upgrade is refused */
export async function opened(socket: WebSocket): Promise<WebSocket> {
  await new Promise<void>((resolve, reject) => {
    socket.on('open', () => resolve())
    socket.on('error', reject)
  })
  return socket
}
