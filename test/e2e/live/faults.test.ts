import { renameSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, type TestContext, test } from 'vitest'
import { boardRun } from '../../support/board.ts'
import { ControlPlane, type Tenant } from '../../support/control-plane.ts'
import { engine } from '../../support/engine.ts'
import { agentImage, CAN_WATCH } from '../../support/live.ts'
import { Network } from '../../support/network.ts'
import { Daemon } from '../../support/runner.ts'
import { until } from '../../support/until.ts'
import { launchBrowser, Viewer } from '../../support/viewer.ts'

/**
 * One run and one viewer through everything that can come between them. Every time the viewer is told why there is no
 * picture, and has it back by themselves; how long after the cause has ended is noted beside the test.
 */

const MARK = 0x6b21
const CUT_MS = 10_000
/** It is three seconds on a machine that has nothing else to do, and a daemon's start where one is started. */
const BACK_LIMIT_MS = 20_000

interface Fault {
  readonly begin: () => void | Promise<void>
  /** What the page says while it lasts. */
  readonly told: RegExp
  /** Null where what is broken is mended by itself. */
  readonly end: (() => void | Promise<void>) | null
}

describe.skipIf(!CAN_WATCH)('the picture is back', () => {
  // Longer than the network is away.
  const controlPlane = new ControlPlane({
    Features__SelfHostedRelayEnabled: 'true',
    SelfHosted__LeaseTtlSeconds: '60',
  })
  let network: Network
  /** The viewer's own way. */
  let line: Network
  let browser: Browser
  let tenant: Tenant
  let daemon: Daemon
  let sessionId = ''
  let viewer: Viewer

  beforeAll(async () => {
    const image = agentImage()
    browser = await launchBrowser()
    await controlPlane.start()
    network = await Network.to(controlPlane.url)
    tenant = await controlPlane.tenant()
    const env = { CONTROL_PLANE_URL: network.url }
    daemon = await Daemon.of(controlPlane, tenant, { name: 'faulty', env })
    await daemon.online(tenant)
    const { id } = await tenant.run(boardRun(image, MARK))
    sessionId = (await tenant.reaches(id, 'running')).session_id ?? ''
    line = await Network.to(controlPlane.url)
    const { url } = await tenant.liveLink(id)
    viewer = await Viewer.open(browser, url.replace(controlPlane.url, line.url))
    await viewer.sees('the board', board => board.mark === MARK)
  })
  afterAll(async () => {
    await browser?.close()
    for (const run of await tenant.runs()) await tenant.cancel(run.id)
    await until('nothing runs', async () => (await tenant.pool()).stats.slots_busy === 0)
    await daemon?.end('SIGTERM')
    await network?.close()
    await line?.close()
    await controlPlane.stop()
  })

  async function survives({ annotate }: TestContext, { begin, told, end }: Fault): Promise<void> {
    await viewer.reads(/^Live$/)
    const began = Date.now()
    await begin()
    const line = await viewer.reads(told, began)
    await end?.()
    const ended = end === null ? began : Date.now()
    const { at } = await viewer.reads(/^Live$/, Math.max(line.at, ended))
    await until('the board counts again', async () => {
      const [first, last] = [(await viewer.drawn(ended))[0], (await viewer.drawn(ended)).at(-1)]
      return last?.board.mark === MARK && first !== undefined && last.board.count !== first.board.count
    })
    const picture = (await viewer.drawn(ended)).find(({ board }) => board.mark === MARK)
    const backMs = Math.max(at, picture?.at ?? 0) - ended
    expect(backMs).toBeLessThan(BACK_LIMIT_MS)
    await annotate(`told after ${line.at - began} ms ("${line.text}"), back after ${backMs} ms`)
  }

  test('after Chromium was killed', async context => {
    await survives(context, { begin: killChromium, told: /the browser of the run has ended/, end: null })
  })

  test('after nothing listened on the socket of the session', async context => {
    const socket = path.join(daemon.stateDir, 'sessions', sessionId, 'stream.sock')
    await survives(context, {
      begin: async () => {
        renameSync(socket, `${socket}.away`)
        await daemon.end('SIGKILL')
        daemon.start()
      },
      told: /nothing in the container of the run shows a picture/,
      end: () => renameSync(`${socket}.away`, socket),
    })
  })

  test('after the runner was killed', async context => {
    await survives(context, {
      begin: () => daemon.end('SIGKILL'),
      told: /the connection to the runner was lost/,
      end: () => void daemon.start(),
    })
  })

  test('after the control plane was killed', async context => {
    await survives(context, {
      begin: () => controlPlane.killGroup(),
      told: /the control plane cannot be reached/,
      end: async () => void (await controlPlane.start()),
    })
  })

  test('after nothing passed between runner and control plane', async context => {
    const began = Date.now()
    await survives(context, {
      begin: () => network.cut(),
      told: /the connection to the runner was lost/,
      end: async () => {
        await sleep(began + CUT_MS - Date.now())
        network.mend()
      },
    })
    expect(daemon.log()).toContain('relay connection lost')
  })

  test('after nothing passed between viewer and control plane', async context => {
    const began = Date.now()
    await survives(context, {
      begin: () => line.cut(),
      told: /the connection was lost|the control plane cannot be reached/,
      end: async () => {
        await sleep(began + CUT_MS - Date.now())
        line.mend()
      },
    })
  })

  async function killChromium(): Promise<void> {
    const { Titles, Processes } = await engine().getContainer(`certyn-${sessionId}`).top()
    const [pid, command] = [Titles.indexOf('PID'), Titles.indexOf('CMD')]
    const first = Processes.find(
      (one: string[]) =>
        one[command]?.includes('--remote-debugging-port') && !one[command]?.includes('--type='),
    )
    process.kill(Number(first?.[pid]), 'SIGKILL')
  }
})
