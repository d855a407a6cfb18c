import { describe, expect, test } from 'vitest'
import { ControlPlane, type Tenant } from '../support/control-plane.ts'
import { HAS_ENGINE, noContainersLeft, nodeImage } from '../support/engine.ts'
import { JOBS } from '../support/jobs.ts'
import { Network } from '../support/network.ts'
import { Daemon } from '../support/runner.ts'
import { until } from '../support/until.ts'

/** A runner behind a network that can fail, and how soon it picks up a run. */
async function behindNetwork(
  idleSeconds: number,
  check: (tenant: Tenant, network: Network, daemon: Daemon) => Promise<void>,
): Promise<void> {
  const controlPlane = await new ControlPlane({ SelfHosted__SyncIdleSeconds: String(idleSeconds) }).start()
  const network = await Network.to(controlPlane.url)
  try {
    const tenant = await controlPlane.tenant()
    const env = { CONTROL_PLANE_URL: network.url }
    const daemon = await Daemon.of(controlPlane, tenant, { name: 'behind', env })
    await check(tenant, network, daemon)
    await noContainersLeft((await tenant.runners()).map(runner => runner.id))
    await daemon.end('SIGTERM')
  } finally {
    await controlPlane.stop()
    await network.close()
  }
}

describe.skipIf(!HAS_ENGINE)('the doorbell', () => {
  // With the doorbell the next sync is an hour away: only a ring can bring a run to its end in time.
  test('brings a run to an idle runner long before its next sync', async () => {
    await behindNetwork(60, async (tenant, network, daemon) => {
      await daemon.online(tenant)
      await until('the doorbell is connected', () => network.openWebsockets === 1)
      const image = await nodeImage()
      for (let count = 0; count < 3; count++) {
        const { id } = await tenant.run({ image, command: JOBS.succeed })
        expect((await tenant.ends(id)).status).toBe('succeeded')
      }
    })
  })

  test('is not needed: where no websocket gets through, the next sync brings the run', async () => {
    await behindNetwork(2, async (tenant, network, daemon) => {
      network.websockets = false
      await daemon.online(tenant)
      const { id } = await tenant.run({ image: await nodeImage(), command: JOBS.succeed })
      expect((await tenant.ends(id)).status).toBe('succeeded')
      expect(network.openWebsockets).toBe(0)
    })
  })

  test('that is cut without a close delays a run by seconds: the missing pong is noticed', async () => {
    await behindNetwork(60, async (tenant, network, daemon) => {
      await daemon.online(tenant)
      await until('the doorbell is connected', () => network.openWebsockets === 1)
      network.dropWebsockets()
      const { id } = await tenant.run({ image: await nodeImage(), command: JOBS.succeed })
      expect((await tenant.ends(id)).status).toBe('succeeded')
      await until('it has dialled again', () => network.openWebsockets === 1)
    })
  })
})
