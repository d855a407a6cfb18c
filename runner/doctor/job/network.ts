import { z } from 'zod'
import { within } from '../../executors/docker/engine.ts'
import { ensureNetwork } from '../../executors/docker/network.ts'
import { NETWORK } from '../../executors/docker/template.ts'
import { SettingsError } from '../../settings-error.ts'
import type { Engine } from '../engine/engine.ts'
import { type Check, fail, ok } from '../examination.ts'
import type { Settings } from '../host/settings.ts'

export interface JobNetwork {
  readonly name: string
  /** The addresses of the Engine's host in it. */
  readonly gateways: readonly string[]
  /** What the host calls it, for its firewall. */
  readonly device: string
}

const Inspected = z.object({
  Id: z.string(),
  IPAM: z.object({ Config: z.array(z.object({ Gateway: z.string().optional() })).nullish() }).nullish(),
  Options: z.record(z.string(), z.string()).nullish(),
})

/** Made where it is missing, as the runner does when it starts. */
export const jobNetwork: Check<{ settings: Settings; engine: Engine }, JobNetwork> = {
  name: 'job network',
  async look({ settings: { policy }, engine: { docker } }, signal) {
    const name = policy.network ?? NETWORK
    try {
      await ensureNetwork(docker, policy.network, signal)
    } catch (error) {
      if (!(error instanceof SettingsError)) throw error
      return fail(error.message, 'until this is put right no job is started')
    }
    const made = Inspected.parse(await within(docker, one => one.getNetwork(name).inspect(), { signal }))
    const gateways = (made.IPAM?.Config ?? []).flatMap(({ Gateway }) => Gateway?.replace(/\/\d+$/, '') ?? [])
    const device = made.Options?.['com.docker.network.bridge.name'] ?? `br-${made.Id.slice(0, 12)}`
    const seen =
      gateways.length === 0 ? `${name}, without a gateway` : `${name}, gateway ${gateways.join(', ')}`
    return ok(seen, { name, gateways, device })
  },
}
