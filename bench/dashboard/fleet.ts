import { CreatedRegistrationToken } from '../../protocol/admin-api.ts'
import { Run } from '../../protocol/run.ts'
import { PretendRunner } from '../../scripts/screenshots/pretend-runner.ts'
import { ControlPlane, type Tenant } from '../../test/support/control-plane.ts'

export const RUNNERS = 200
export const RUNS = 10_000
const AT_ONCE = 16
/** Nobody syncs while pages are opened. */
const STILL = { SelfHosted__LeaseTtlSeconds: '3600' }

export interface BigPool {
  readonly controlPlane: ControlPlane
  readonly tenant: Tenant
}

/** A pool with as many runners and runs as a large company has, made through the API. */
export async function bigPool(): Promise<BigPool> {
  const controlPlane = await new ControlPlane(STILL).start()
  const tenant = await controlPlane.tenant()
  const { api, poolId } = tenant
  const { secret } = await api.post(`/pools/${poolId}/registration-tokens`, {}, CreatedRegistrationToken)
  await times(RUNNERS, at =>
    PretendRunner.join({
      origin: controlPlane.url,
      poolId,
      registrationToken: secret,
      name: `runner-${at}`,
      labels: { zone: `zone-${at % 7}`, rack: String(at % 40) },
    }),
  )
  const body = { image: 'docker.io/certyn/agent:v0.1.0', labels: { zone: 'none' }, stream: false }
  await times(RUNS, () => patiently(() => api.post(`/environments/${tenant.environmentId}/runs`, body, Run)))
  return { controlPlane, tenant }
}

async function times(count: number, act: (at: number) => Promise<unknown>): Promise<void> {
  let next = 0
  const work = async () => {
    for (let at = next++; at < count; at = next++) await act(at)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
}

/** A key may call so often a minute and is told when it may again. */
async function patiently(act: () => Promise<unknown>): Promise<void> {
  for (;;) {
    try {
      await act()
      return
    } catch (error) {
      if (!String(error).includes('429')) throw error
      await new Promise(resolve => setTimeout(resolve, 1_000))
    }
  }
}
