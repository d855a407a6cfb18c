import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { Browser, CDPSession, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CreatedApiKey } from '../../../protocol/admin-api.ts'
import { boardRun, textOf } from '../../support/board.ts'
import { ControlPlane, type Tenant } from '../../support/control-plane.ts'
import { agentImage, CAN_WATCH } from '../../support/live.ts'
import { Daemon } from '../../support/runner.ts'
import { until } from '../../support/until.ts'
import { launchBrowser, Viewer } from '../../support/viewer.ts'
import { Visitor } from '../../support/visitor.ts'

/** What the page that a run is watched on says and does to whoever is before it, with everything real behind it. */

const MARK = 0x5ac3
const CONTROL = 'You control this browser'
const OFF = 'Input is off'
const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }
/** From when they are made until they are closed, which can be held up. */
const COUNT_SOCKETS = `globalThis.sockets = { made: 0, open: 0, most: 0, astray: null, held: false, letGo: null }
  globalThis.WebSocket = class extends WebSocket {
    constructor(url, protocols) {
      super(sockets.astray ?? url, protocols)
      sockets.made += 1
      sockets.open += 1
      sockets.most = Math.max(sockets.most, sockets.open)
      this.addEventListener('close', () => { sockets.open -= 1 })
    }
    close(code) {
      if (!sockets.held) return super.close(code)
      sockets.letGo = () => { sockets.held = false; super.close(code) }
    }
  }`

describe.skipIf(!CAN_WATCH)('the page of a live view', () => {
  const controlPlane = new ControlPlane({
    Features__SelfHostedRelayEnabled: 'true',
    // A runner is missed soon, and has its run yet when it is back.
    SelfHosted__RelayConnectTimeoutSeconds: '1',
    SelfHosted__LeaseTtlSeconds: '60',
  })
  let browser: Browser
  let tenant: Tenant
  let daemon: Daemon
  let runId = ''

  beforeAll(async () => {
    browser = await launchBrowser()
    await controlPlane.start()
    tenant = await controlPlane.tenant()
    daemon = await Daemon.of(controlPlane, tenant, { name: 'shown', slots: 2 })
    await daemon.online(tenant)
    runId = await start()
  })
  afterAll(async () => {
    await browser?.close()
    for (const run of await tenant.runs()) await tenant.cancel(run.id)
    await until('nothing runs', async () => (await tenant.pool()).stats.slots_busy === 0)
    await daemon?.end('SIGTERM')
    await controlPlane.stop()
  })

  async function start(): Promise<string> {
    const { id } = await tenant.run(boardRun(agentImage(), MARK))
    expect((await tenant.reaches(id, 'running')).status).toBe('running')
    return id
  }

  async function control(id = runId, options = {}): Promise<Viewer> {
    const viewer = await Viewer.open(browser, (await tenant.liveLink(id, 'control')).url, options)
    await viewer.reads(/^Live$/)
    await viewer.sees('the board', board => board.mark === MARK)
    return viewer
  }

  /** Who may be led astray, where the page's own policy would have no socket go. */
  async function countingSockets(url: string): Promise<Viewer> {
    const context = await browser.newContext({ bypassCSP: true })
    const viewer = await Viewer.behind(await context.newPage())
    await viewer.page.addInitScript(COUNT_SOCKETS)
    await viewer.page.goto(url)
    return viewer
  }

  const isShown = ({ page }: Viewer, id: string) =>
    page.evaluate(`(() => {
      const place = document.getElementById('${id}'), box = place.getBoundingClientRect()
      return (document.fullscreenElement?.contains(place) ?? true) && place.checkVisibility() &&
        box.left >= 0 && box.top >= 0 && box.right <= innerWidth && box.bottom <= innerHeight
    })()`)
  const said = ({ page }: Viewer, id: string) => page.locator(`#${id}`).textContent()

  test('passes on text that is composed, and takes it out of where it was composed', async () => {
    const driver = await control()
    await driver.page.locator('#screen').click({ position: { x: 200, y: 200 } })
    const devtools = await driver.page.context().newCDPSession(driver.page)
    await devtools.send('Input.imeSetComposition', { text: 'ö', selectionStart: 1, selectionEnd: 1 })
    await devtools.send('Input.insertText', { text: 'öß' })
    await driver.sees('what was composed', board => board.text === textOf('öß'))
    // As a screen's keyboard does it: no composition, and no key.
    await devtools.send('Input.insertText', { text: 'àé' })
    await driver.sees('what was inserted', board => board.text === textOf('àé'))
    await driver.page.keyboard.press('x')
    const { keys } = await driver.sees('a key', board => board.text === textOf('éx'))
    expect(keys).toBe(1)
    expect(await driver.page.locator('#keyboard').inputValue()).toBe('')
    await driver.close()
  })

  test('shows the way out of the keyboard while the keyboard is taken', async () => {
    const driver = await control()
    expect(await isShown(driver, 'way-out')).toBe(false)
    await driver.page.locator('#screen').click({ position: { x: 200, y: 200 } })
    expect(await isShown(driver, 'way-out')).toBe(true)
    await driver.page.evaluate(
      `addEventListener('keydown', event => { globalThis.last = [event.key, event.defaultPrevented] })`,
    )
    await driver.page.keyboard.press('Shift+Escape')
    // It is the browser's own, for its task manager.
    expect(await driver.page.evaluate('last')).toEqual(['Escape', true])
    expect(await isShown(driver, 'way-out')).toBe(false)
    await driver.close()
  })

  test('lets two fingers move the picture of a page that one finger controls', async () => {
    const driver = await control(runId, PHONE)
    const { page } = driver
    const clicks = (await driver.sees('the board', board => board.mark === MARK)).clicks
    await page.locator('#fit').tap()
    await page.locator('#screen').tap({ position: { x: 100, y: 100 } })
    await driver.sees('a tap', board => board.clicks === clicks + 1)
    expect(await page.evaluate('document.activeElement.id')).toBe('keyboard')
    const devtools = await page.context().newCDPSession(page)
    await pan(devtools, { from: 300, to: 100 })
    await until('the picture has moved', () =>
      page.evaluate(`document.getElementById('stage').scrollLeft >= 150`),
    )
    await page.locator('#screen').tap({ position: { x: 300, y: 100 } })
    expect((await driver.sees('another tap', board => board.clicks > clicks + 1)).clicks).toBe(clicks + 2)
    await driver.close()
  })

  test('says how it stands in full screen too, to the end', async () => {
    const id = await start()
    const { url } = await tenant.liveLink(id)
    const driver = await control(id)
    await driver.page.locator('#full').click()
    await until('it fills the screen', () => driver.page.evaluate('document.fullscreenElement !== null'))
    expect([await isShown(driver, 'state'), await isShown(driver, 'mode')]).toEqual([true, true])
    expect(await said(driver, 'mode')).toBe(CONTROL)
    await driver.page.locator('#screen').click({ position: { x: 200, y: 300 } })
    const asked = exchanges(driver.page)
    await tenant.cancel(id)
    await driver.reads(/^Ended – .*cancelled/)
    expect(await isShown(driver, 'state')).toBe(true)
    // Nobody controls a browser that is gone, and nothing about it will change.
    expect(await driver.page.locator('#mode, #again').filter({ visible: true }).count()).toBe(0)
    expect(await driver.page.evaluate(`document.getElementById('keyboard')`)).toBeNull()
    const count = asked.length
    await driver.page.waitForTimeout(4_000)
    expect(asked.length).toBe(count)
    await driver.close()

    const late = await Viewer.open(browser, url)
    await late.reads(/^Ended – .*cancelled/)
    expect(await said(late, 'empty')).toBe('The run has ended; there is no picture of it.')
    await late.close()
  })

  test('tells whoever has no good link what to do, and leads back whoever signs in', async () => {
    const { url } = await tenant.liveLink(runId)
    const viewer = await Viewer.open(browser, url.slice(0, -3))
    const { page } = viewer
    await viewer.reads(/^Cannot be watched – the link is incomplete; copy all of it$/)
    expect(page.url()).toBe(`${controlPlane.url}/live/${runId}`)
    // The rest of it in the same tab, where only what is behind the address changes.
    await Promise.all([page.waitForEvent('load'), page.goto(url)])
    await viewer.reads(/^Live$/)
    expect(await said(viewer, 'run')).toBe(`Run run_…${runId.slice(-6)}`)
    await viewer.close()

    const visitor = await Visitor.open(browser, controlPlane.url)
    await visitor.go(`/live/${runId}?mode=control`)
    await visitor.reads('open the link you were given, or sign in')
    await visitor.page.getByRole('link', { name: 'Sign in' }).click()
    const key = await tenant.api.post('/api-keys', { name: 'watches', role: 'member' }, CreatedApiKey)
    await visitor.signIn(key.secret)
    await visitor.reads(CONTROL)
    expect(visitor.page.url()).toBe(`${controlPlane.url}/live/${runId}?mode=control`)
    await visitor.reads('in staging')
    expect(await visitor.page.title()).toBe(`Live – run run_…${runId.slice(-6)}`)
    await visitor.page.getByRole('link', { name: /^Run run_/ }).click()
    await visitor.page.getByRole('heading', { level: 1, name: /^Run/ }).waitFor()
    expect(visitor.page.url()).toBe(`${controlPlane.url}/runs/${runId}`)
    expect(visitor.complaints).toEqual([])
    await visitor.close()
  })

  test('says of an address that names no run that it does not', async () => {
    const visitor = await Visitor.open(browser, controlPlane.url)
    for (const path of ['/live/', '/live/garbage']) {
      await visitor.go(path)
      await visitor.reads('this is not the address of a run')
      await visitor.page.getByRole('link', { name: 'All runs' }).waitFor()
    }
    await visitor.close()
  })

  test('keeps one socket, however often it is asked to try again', async () => {
    // It lets one watch at a time.
    const viewer = await countingSockets((await tenant.liveLink(runId, 'view', 1)).url)
    await viewer.reads(/^Live$/)
    const { page } = viewer
    const began = await stopClock(page)
    const asked = exchanges(page)
    await page.evaluate('sockets.held = true')
    await page.evaluate(`for (const time of [1, 2, 3]) document.getElementById('again').click()`)
    await page.waitForTimeout(1_000)
    // The one there is has not been closed yet.
    expect(asked).toEqual([])
    await page.evaluate('sockets.letGo()')
    await viewer.reads(/^Live$/, began)
    await page.waitForTimeout(1_000)
    expect(asked.length).toBe(1)
    expect(await page.evaluate('[sockets.made, sockets.open, sockets.most]')).toEqual([2, 1, 1])
    expect((await viewer.lines()).filter(({ text }) => text.includes('are using this link'))).toEqual([])
    await viewer.close()
  })

  test.each<[what: string, hang: (viewer: Viewer) => Promise<() => Promise<void>>]>([
    ['an answer', hangAnswers],
    ['a socket', hangSockets],
  ])('has the picture back within 3 s of the end of what kept it away: %s that hung', async (_what, hang) => {
    const viewer = await countingSockets((await tenant.liveLink(runId)).url)
    await viewer.reads(/^Live$/)
    const { page } = viewer
    const began = await stopClock(page)
    const end = await hang(viewer)
    await page.evaluate(`document.getElementById('again').click()`)
    await end()
    await page.clock.runFor(3_000)
    await viewer.reads(/^Live$/, began)
    expect(await page.evaluate('sockets.most')).toBe(1)
    await viewer.close()
  })

  test('keeps its one line on top of the picture on a phone in landscape', async () => {
    const driver = await control(runId, { viewport: { width: 844, height: 390 } })
    await driver.page.locator('#screen').click({ position: { x: 100, y: 100 } })
    const lines = `new Set([...document.querySelectorAll('header > *')].filter(one => one.checkVisibility())
      .map(one => one.getBoundingClientRect()).map(({ top, height }) => Math.round((top + height / 2) / 8))).size`
    for (const reason of ['', '– the runner has not answered since 10:07 AM; trying again']) {
      await driver.page.evaluate(`document.getElementById('reason').textContent = '${reason}'`)
      expect(await driver.page.evaluate(lines), reason).toBe(1)
      expect(
        await driver.page.evaluate('document.querySelector("header").scrollWidth - innerWidth'),
        reason,
      ).toBeLessThanOrEqual(0)
      expect([await isShown(driver, 'state'), await isShown(driver, 'mode')], reason).toEqual([true, true])
    }
    await driver.close()
  })

  test('says calmly that the runner does not answer, and takes no input meanwhile', async () => {
    const driver = await control()
    await daemon.end('SIGKILL')
    const missing = await driver.reads(
      /^Connecting – the runner has not answered since .*\d.*; trying again$/,
    )
    expect(await said(driver, 'mode')).toBe(OFF)
    const { keys, mark } = await driver.sees('the board', () => true)
    await driver.page.locator('#screen').click({ position: { x: 200, y: 200 } })
    await driver.page.keyboard.press('q')
    const asked = exchanges(driver.page)
    await until('it was asked again and again', () => asked.length > 2)
    expect((await driver.lines()).filter(line => line.at >= missing.at)).toEqual([missing])
    daemon.start()
    await driver.reads(/^Live$/, missing.at)
    expect([await said(driver, 'mode'), mark]).toEqual([CONTROL, MARK])
    await driver.page.keyboard.press('w')
    expect((await driver.sees('the next key', board => board.keys > keys)).keys).toBe(keys + 1)
    await driver.close()
  })
})

/** The page's time stands still until it is moved on. @returns what it is, in epoch milliseconds */
async function stopClock(page: Page): Promise<number> {
  await page.clock.install()
  await page.clock.pauseAt(Date.now() + 10_000)
  return Number(await page.evaluate('Date.now()'))
}

/** What is asked for from now on is never answered. @returns a function that waits for that, and ends it */
async function hangAnswers({ page }: Viewer): Promise<() => Promise<void>> {
  const hanging = page.waitForRequest('**/live-links/exchange')
  let isOver = false
  await page.route('**/live-links/exchange', async route => {
    if (isOver) await route.continue()
  })
  return async () => {
    await hanging
    isOver = true
  }
}

/** Likewise of sockets, which are led to where nobody speaks. */
async function hangSockets({ page }: Viewer): Promise<() => Promise<void>> {
  const mute = createServer()
  const met = once(mute, 'connection')
  await new Promise<void>(resolve => mute.listen(0, '127.0.0.1', resolve))
  await page.evaluate(`sockets.astray = 'ws://127.0.0.1:${(mute.address() as AddressInfo).port}'`)
  return async () => {
    const [socket] = (await met) as [Socket]
    await page.evaluate('sockets.astray = null')
    mute.close()
    socket.resume()
  }
}

/** Every time the page asks for a ticket from now on. */
function exchanges(page: Page): string[] {
  const asked: string[] = []
  page.on('request', request => {
    if (request.url().endsWith('/live-links/exchange')) asked.push(request.url())
  })
  return asked
}

async function pan(devtools: CDPSession, { from, to }: { from: number; to: number }): Promise<void> {
  const fingers = (x: number) => [
    { id: 0, x, y: 300 },
    { id: 1, x: x + 40, y: 340 },
  ]
  const touch = (type: 'touchStart' | 'touchMove' | 'touchEnd', touchPoints: { x: number; y: number }[]) =>
    devtools.send('Input.dispatchTouchEvent', { type, touchPoints })
  await touch('touchStart', fingers(from).slice(0, 1))
  await touch('touchStart', fingers(from))
  for (let step = 1; step <= 10; step++) await touch('touchMove', fingers(from + ((to - from) * step) / 10))
  await touch('touchEnd', [])
}
