import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { boardRun } from '../../support/board.ts'
import { ControlPlane, type Tenant } from '../../support/control-plane.ts'
import { noContainersLeft } from '../../support/engine.ts'
import { letEnd } from '../../support/jobs.ts'
import { agentImage, CAN_WATCH } from '../../support/live.ts'
import { Daemon } from '../../support/runner.ts'
import { launchBrowser, Viewer } from '../../support/viewer.ts'

/** A page in a closed container, watched from an ordinary browser, with everything real that is in between. */
describe.skipIf(!CAN_WATCH)('watching a run', () => {
  const controlPlane = new ControlPlane({ Features__SelfHostedRelayEnabled: 'true' })
  let image: string
  let browser: Browser
  let tenant: Tenant
  let daemon: Daemon

  beforeAll(async () => {
    image = agentImage()
    browser = await launchBrowser()
    await controlPlane.start()
    tenant = await controlPlane.tenant()
    daemon = await Daemon.of(controlPlane, tenant, { name: 'watched', slots: 3 })
    await daemon.online(tenant)
  })
  afterAll(async () => {
    await browser?.close()
    await daemon?.end('SIGTERM')
    await controlPlane.stop()
  })

  async function startBoard(mark: number): Promise<string> {
    const { id } = await tenant.run(boardRun(image, mark))
    expect((await tenant.reaches(id, 'running')).status).toBe('running')
    return id
  }

  test('shows a page that counts up', async () => {
    const id = await startBoard(0xa5c3)
    const viewer = await Viewer.open(browser, (await tenant.liveLink(id)).url)
    const first = await viewer.sees('the board', board => board.mark === 0xa5c3)
    await viewer.sees('it count up', board => board.mark === 0xa5c3 && board.count > first.count + 20)
    letEnd(daemon.stateDir, (await tenant.get(id)).session_id ?? '')
    expect((await tenant.ends(id)).status).toBe('succeeded')
    await viewer.close()
    await noContainersLeft((await tenant.runners()).map(runner => runner.id))
  })
})
