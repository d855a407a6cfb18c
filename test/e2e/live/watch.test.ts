import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Pool } from '../../../protocol/admin-api.ts'
import { ViewerTicket } from '../../../protocol/live.ts'
import { Artifacts } from '../../../protocol/session-files.ts'
import { boardRun, textOf } from '../../support/board.ts'
import { ControlPlane, type Tenant } from '../../support/control-plane.ts'
import { noContainersLeft } from '../../support/engine.ts'
import { letEnd, node } from '../../support/jobs.ts'
import { agentImage, CAN_WATCH } from '../../support/live.ts'
import { Daemon } from '../../support/runner.ts'
import { until } from '../../support/until.ts'
import { launchBrowser, Viewer } from '../../support/viewer.ts'

/** Pages in closed containers, watched from an ordinary browser, with everything real that is in between. */

const MARKS = { first: 0xa5c3, second: 0x3c5a, third: 0x6b94 } as const
const DOT_PNG =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
const PHONE = { width: 390, height: 844 }
const DESKTOP = { width: 1440, height: 900 }

const SING = `localStorage.setItem('canary', document.title = 'sings'); fetch('/canary-sings')`
/** The first frames of one of 16 by 16 pixels. */
const FILM_WEBM =
  'GkXfo59ChoEBQveBAULygQRC84EIQoKEd2VibUKHgQRChYECGFOAZwH/////////FUmpZpkq17GDD0JATYCGQ2hyb21lV0GGQ2hy' +
  'b21lFlSua7yuuteBAXPFh1ZXzp0c6KiDgQFV7oEBhoVWX1ZQOOCdsIEQuoEQU8CBAVWwkFWxgQFVuYECVbqBDVW7gQEfQ7Z1Af//' +
  '///////ngQCg6KG9gQAAAPACAJ0BKhAAEAAABwiFhYiZhIgBJBATrVAfwB/QEGpvcP7+wOv/8OPqMKD/w5T/+7yp+PeZX/7uAHWh' +
  'pqak7oEBpZ8QAgCdASoQABAAAAcIhYWImYSIASQQAGBrAP7/uoMAoM2hrIEANQCxAQAAEAkgAMABgf+gYAd4/vGVj/8bWkvbTP/j' +
  'a//+F0L/46yf/CpAdaGZppfugQGlktEBAAAQCSAAwADCwX+gAEAAAPuBAKDNoayBAGgAsQEAABAJIADAAYH/oGAGEP76Ksv/31Ie' +
  '3e6T/76k//h/rGufC/8OkHWhmaaX7oEBpZLRAQAAEAkgAMAAwsF/oABAAAD7'
const LEAVE_ARTIFACTS = `
  const fs = require('fs'); process.chdir(process.env.CERTYN_ARTIFACTS_DIR)
  const sing = ${JSON.stringify(SING)}
  fs.writeFileSync('canary.html', '<!doctype html><script>' + sing + '</script>')
  fs.writeFileSync('canary.svg', '<svg xmlns="http://www.w3.org/2000/svg"><script>' + sing + '</script></svg>')
  fs.writeFileSync('canary.xhtml', '<html xmlns="http://www.w3.org/1999/xhtml"><script>' + sing + '</script></html>')
  fs.writeFileSync('dot.png', Buffer.from('${DOT_PNG}', 'base64'))
  fs.writeFileSync('film.webm', Buffer.from('${FILM_WEBM}', 'base64'))`

describe.skipIf(!CAN_WATCH)('watching a run', () => {
  const controlPlane = new ControlPlane({ Features__SelfHostedRelayEnabled: 'true' })
  const runs = { first: '', second: '' }
  let browser: Browser
  let tenant: Tenant
  let daemon: Daemon

  beforeAll(async () => {
    const image = agentImage()
    browser = await launchBrowser()
    await controlPlane.start()
    tenant = await controlPlane.tenant()
    daemon = await Daemon.of(controlPlane, tenant, { name: 'watched', slots: 3 })
    await daemon.online(tenant)
    for (const name of ['first', 'second'] as const) {
      runs[name] = (await tenant.run(boardRun(image, MARKS[name]))).id
      expect((await tenant.reaches(runs[name], 'running')).status).toBe('running')
    }
  })
  afterAll(async () => {
    await browser?.close()
    await daemon?.end('SIGTERM')
    await controlPlane.stop()
  })

  async function watch(
    name: keyof typeof runs,
    { mode = 'view', size = DESKTOP }: { mode?: 'view' | 'control'; size?: typeof DESKTOP } = {},
  ): Promise<Viewer> {
    const viewer = await Viewer.open(browser, (await tenant.liveLink(runs[name], mode)).url, {
      viewport: size,
    })
    // The picture from before is shown at once, before there is anybody who would obey.
    await viewer.reads(/^Live$/)
    await viewer.sees('the board', board => board.mark === MARKS[name])
    return viewer
  }

  test('shows a page that counts up, and only the one it was let in for', async () => {
    const viewers = { first: await watch('first'), second: await watch('second') }
    for (const [name, viewer] of Object.entries(viewers)) {
      const since = await viewer.sees('the board', board => board.mark === MARKS[name as keyof typeof MARKS])
      await viewer.sees('it count up', board => board.count > since.count + 20)
      const phases = (await viewer.lines()).map(({ phase }) => phase)
      expect(phases.filter((phase, at) => phase !== phases[at - 1]).slice(0, 2)).toEqual([
        'connecting',
        'live',
      ])
    }
    for (const [name, viewer] of Object.entries(viewers)) {
      const drawn = (await viewer.drawn()).map(({ board }) => board)
      const own = drawn.filter(board => board.mark === MARKS[name as keyof typeof MARKS])
      // Before its own page every browser shows an empty one, which is white.
      expect(new Set(drawn.filter(board => !own.includes(board)).map(board => board.mark))).toEqual(
        new Set(own.length === drawn.length ? [] : [0xffff]),
      )
      const counts = own.map(board => board.count)
      expect(counts).toEqual(counts.toSorted((a, b) => a - b))
      await viewer.close()
    }
  })

  test('passes on what a hand does in control mode, and nothing in view mode', async () => {
    const [driver, watcher] = [await watch('first', { mode: 'control' }), await watch('first')]
    const click = ({ page }: Viewer) => page.locator('#screen').click({ position: { x: 200, y: 200 } })
    await expectText(driver, '#mode', 'You control this browser')
    await expectText(watcher, '#mode', 'View only')
    await click(watcher)
    await watcher.page.keyboard.type('no')
    await click(driver)
    await watcher.sees('one click', board => board.clicks > 0)
    // The browser's own shortcut for a new tab, in which the rest would be typed, never gets there.
    await driver.page.keyboard.press('Control+t')
    await driver.page.keyboard.press('h')
    await driver.page.keyboard.press('Shift+I')
    await driver.page.mouse.wheel(0, 120)
    const seen = await watcher.sees(
      'typing and scrolling',
      board => board.scrolled > 0 && board.text === textOf('hI'),
    )
    expect(seen).toMatchObject({ clicks: 1, keys: 4, scrolled: 120 })

    await driver.page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
    await driver.page.evaluate(`navigator.clipboard.writeText('pasted: öé')`)
    await driver.page.keyboard.press('Control+v')
    await watcher.sees('what was pasted', board => board.text === textOf('öé'))
    await Promise.all([driver.close(), watcher.close()])
  })

  test('gives the keyboard back, and reaches everything with it', async () => {
    const driver = await watch('second', { mode: 'control' })
    const focused = () => driver.page.evaluate('document.activeElement.id')
    const order: unknown[] = []
    for (let tab = 0; tab < 3; tab++) {
      await driver.page.keyboard.press('Tab')
      order.push(await focused())
    }
    expect(order).toEqual(['fit', 'full', 'keyboard'])
    await driver.page.keyboard.press('k')
    await driver.sees('a key', board => board.keys === 1)
    await driver.page.keyboard.press('Shift+Escape')
    expect(await focused()).toBe('')
    await driver.close()
  })

  test('tells how it stands, and keeps its secret out of the address', async () => {
    const viewer = await watch('second')
    expect(viewer.page.url()).toBe(`${controlPlane.url}/live/${runs.second}`)
    await viewer.reads(/^Live$/)
    expect(await viewer.page.title()).toBe(`Live – run run_…${runs.second.slice(-6)}`)
    const figure = async (id: string) => (await viewer.page.locator(id).textContent()) ?? '–'
    await until('frames are counted', async () => /^[1-9]/.test(await figure('#fps')))
    expect(await figure('#delay')).toMatch(/^\d+ ms$/)
    // The tab remembers it, so that it can be loaded again.
    await viewer.page.reload()
    await viewer.sees('the board again', board => board.mark === MARKS.second)
    await viewer.close()
  })

  test.each([
    ['a phone', PHONE],
    ['a desktop', DESKTOP],
  ])('fits the screen of %s, shows its true size and fills all of it', async (_name, size) => {
    const viewer = await watch('second', { size })
    const { page } = viewer
    const box = async () =>
      (await page.locator('#screen').boundingBox()) ?? { x: 0, y: 0, width: 0, height: 0 }
    const sideways = () => page.evaluate('document.documentElement.scrollWidth > innerWidth')
    const fitted = await box()
    expect(fitted.width / fitted.height).toBeCloseTo(1280 / 720, 1)
    expect(fitted.x + fitted.width).toBeLessThanOrEqual(size.width)
    expect(fitted.y + fitted.height).toBeLessThanOrEqual(size.height)
    expect(await sideways()).toBe(false)
    await page.locator('#fit').click()
    expect((await box()).width).toBe(1280)
    expect(await sideways()).toBe(false)
    await page.locator('#fit').click()
    await page.locator('#full').click()
    await until('it fills the screen', () => page.evaluate('document.fullscreenElement !== null'))
    const filled = await box()
    expect(Math.max(filled.width / size.width, filled.height / size.height)).toBeCloseTo(1, 2)
    await viewer.close()
  })

  test('is not for pages of another origin, and a ticket is good for one socket', async () => {
    const { ticket, url } = await tenant.api.post(
      `/runs/${runs.first}/viewer-tickets`,
      { mode: 'view' },
      ViewerTicket,
    )
    const foreign = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<p>'))
    await new Promise<void>(resolve => foreign.listen(0, '127.0.0.1', resolve))
    const page = await browser.newPage()
    const open = () =>
      page.evaluate(`new Promise(resolve => {
        const socket = new WebSocket('${url}', ['certyn.stream.v1', 'certyn.ticket.${ticket}'])
        socket.onopen = () => { resolve('open'); socket.close() }
        socket.onerror = () => resolve('refused')
      })`)
    await page.goto(`http://127.0.0.1:${(foreign.address() as AddressInfo).port}`)
    expect(await open()).toBe('refused')
    // Nor was it used up by that.
    await page.goto(`${controlPlane.url}/live/${runs.first}`)
    expect([await open(), await open()]).toEqual(['open', 'refused'])
    await page.close()
    foreign.close()
  })

  test('leaves artifacts that run nothing on the origin of the control plane, and pictures and films that are shown', async () => {
    const run = await tenant.run({ image: agentImage(), command: node(LEAVE_ARTIFACTS) })
    expect((await tenant.ends(run.id)).status).toBe('succeeded')
    const artifacts = `/runs/${run.id}/artifacts`
    await until('all of them are there', async () => {
      const { items } = await tenant.api.get(artifacts, Artifacts)
      return items.length === 5
    })
    const context = await browser.newContext({ extraHTTPHeaders: tenant.api.headers })
    const page = await context.newPage()
    const asked: string[] = []
    page.on('request', request => asked.push(new URL(request.url()).pathname))
    const address = `${controlPlane.url}/api/v1${artifacts}`
    for (const name of ['canary.html', 'canary.svg', 'canary.xhtml']) {
      // A file that is saved is no page, and opening one counts as failed.
      await page.goto(`${address}/${name}`).catch(() => undefined)
      await page.goto(`${controlPlane.url}/live/${runs.first}`)
      await page.evaluate(
        `new Promise(done => { const frame = document.createElement('iframe'); frame.onload = frame.onerror = done;
         frame.src = '${address}/${name}'; document.body.append(frame); setTimeout(done, 500) })`,
      )
      expect(await page.evaluate(`localStorage.getItem('canary')`), name).toBeNull()
    }
    expect(asked.filter(path => path.includes('canary-sings'))).toEqual([])
    await page.goto(`${address}/dot.png`)
    expect(await page.evaluate('document.images[0].naturalWidth')).toBe(1)
    await page.goto(`${address}/film.webm`)
    await page.waitForFunction(`document.querySelector('video').videoWidth === 16`)
    await context.close()
  })

  test('cuts off who watches by a link that is revoked, and says so', async () => {
    const { id, url } = await tenant.liveLink(runs.first)
    const viewer = await Viewer.open(browser, url)
    await viewer.reads(/^Live/)
    await tenant.revokeLink(id)
    const { phase, text } = await viewer.reads(/^Cannot be watched/)
    expect([phase, text]).toEqual(['refused', 'Cannot be watched – permission to watch was revoked'])
    // Nothing that one could try would help.
    expect(await viewer.page.getByRole('button', { name: 'Try again' }).isVisible()).toBe(false)
    await viewer.page.reload()
    await viewer.reads(/The link was revoked/)
    await viewer.close()
  })

  test('says what a run waits for, and goes live by itself when it runs', async () => {
    const pool = `/pools/${tenant.poolId}`
    await tenant.api.post(`${pool}/drain`, {}, Pool)
    const run = await tenant.run(boardRun(agentImage(), MARKS.third))
    const viewer = await Viewer.open(browser, (await tenant.liveLink(run.id)).url)
    const { phase, text } = await viewer.reads(/^Waiting/)
    expect([phase, text]).toEqual([
      'waiting',
      'Waiting – the run is queued: it waits until the pool or a runner is resumed',
    ])
    expect(await viewer.page.getByRole('button', { name: 'Try again' }).isVisible()).toBe(false)
    await tenant.api.post(`${pool}/resume`, {}, Pool)
    await viewer.reads(/^Live$/)
    await viewer.sees('the board', board => board.mark === MARKS.third)
    expect((await viewer.lines()).filter(line => ['ended', 'refused'].includes(line.phase))).toEqual([])
    await tenant.cancel(run.id)
    await viewer.reads(/^Ended – .*cancelled/)
    await viewer.close()
  })

  test('says that and how the run ended', async () => {
    const viewer = await watch('second')
    letEnd(daemon.stateDir, (await tenant.get(runs.second)).session_id ?? '')
    expect((await tenant.ends(runs.second)).status).toBe('succeeded')
    await viewer.reads(/^Ended/)
    await viewer.reads(/^Ended – .*succeeded/)
    await tenant.cancel(runs.first)
    await tenant.ends(runs.first)
    await noContainersLeft((await tenant.runners()).map(runner => runner.id))
    await viewer.close()
  })
})

async function expectText({ page }: Viewer, selector: string, wanted: string): Promise<void> {
  expect(await page.locator(selector).textContent()).toBe(wanted)
}
