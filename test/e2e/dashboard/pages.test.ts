import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { CreatedApiKey, Environment, Pool, pageOf, Runner } from '../../../protocol/admin-api.ts'
import { PretendRunner } from '../../../scripts/screenshots/pretend-runner.ts'
import { ControlPlane, type Tenant } from '../../support/control-plane.ts'
import { node } from '../../support/jobs.ts'
import { CHROMIUM } from '../../support/live.ts'
import { asLabel, PAYLOADS } from '../../support/payloads.ts'
import { Daemon } from '../../support/runner.ts'
import { launchBrowser } from '../../support/viewer.ts'
import { Visitor } from '../../support/visitor.ts'

/** Every page of a tenant whose names, labels, notes and logs are as odd as they may be. */

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const FIND_VIOLATIONS = `axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) =>
  violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => [id, ...target, failureSummary].join(' '))))`
/** How far things have moved that nobody had touched, in the browser's own measure; 0.1 is felt. */
const WATCH_JUMPS = `globalThis.jumps = 0; new PerformanceObserver(list => {
  for (const { value, hadRecentInput } of list.getEntries()) if (!hadRecentInput) jumps += value
}).observe({ type: 'layout-shift', buffered: true })`
const JUMPS_FELT = 0.1
/** A refresh of what is shown, and a bit. */
const REFRESHED_MS = 6_000
const HOUR_MS = 3_600_000
const LARGEST_ANSWER_BYTES = 256 * 1024
const REACHABLE = 'a[href], button:not(:disabled), select, input, textarea, [tabindex="0"]'
/** What a payload would have made if it had been taken for more than text. */
const MADE = `[globalThis.ran ?? null, document.querySelectorAll('#root script, #root style, img[src="x"], svg[onload]').length]`
/** A command that does not fit anything, in one word. */
const LONG = 'wide()'.repeat(500)
const PHONE = { width: 390, height: 844 }
const DESKTOP = { width: 1440, height: 900 }

describe.skipIf(CHROMIUM === undefined)('every page', () => {
  const controlPlane = new ControlPlane({ Features__SelfHostedRelayEnabled: 'true' })
  let browser: Browser
  let tenant: Tenant
  let admin: Visitor
  let daemon: Daemon
  const runners: PretendRunner[] = []
  const pages: Record<string, string> = {
    overview: '/',
    environments: '/environments',
    pools: '/environments/runners',
    runs: '/runs',
    'live links': '/live-links',
    'API keys': '/api-keys',
    members: '/members',
    audit: '/audit',
  }

  beforeAll(async () => {
    browser = await launchBrowser()
    await controlPlane.start()
    tenant = await controlPlane.tenant()
    await seed()
    const { secret } = await tenant.api.post('/api-keys', { name: 'visitor', role: 'admin' }, CreatedApiKey)
    admin = await Visitor.signedIn(browser, controlPlane.url, secret)
  })
  beforeEach(({ onTestFailed }) => onTestFailed(() => admin.report()))
  afterAll(async () => {
    await browser?.close()
    await daemon?.end('SIGTERM')
    await controlPlane.stop()
  })

  async function seed(): Promise<void> {
    const { api, poolId } = tenant
    const token = await tenant.token({ name: PAYLOADS[0] })
    for (const text of PAYLOADS) {
      const pool = await api.post('/pools', { name: text, description: text }, Pool)
      const environment = { name: text, execution_target: 'self_hosted', pool_id: pool.id }
      await api.post('/environments', environment, Environment)
      await api.post(`/pools/${poolId}/registration-tokens`, { name: text }, z.unknown())
      await api.post('/api-keys', { name: text, role: 'viewer' }, CreatedApiKey)
      const labels = { [asLabel(text)]: asLabel(text) }
      const options = { origin: controlPlane.url, poolId, registrationToken: token, name: text, labels }
      runners.push(await PretendRunner.join(options))
    }
    for (const { id, name } of await tenant.runners()) {
      await api.post(`/pools/${poolId}/runners/${id}/drain`, { note: name }, Runner)
    }
    const waiting = await tenant.run({
      image: `docker.io/certyn/${'long-'.repeat(20)}agent:v0.1.0`,
      command: ['node', '--eval', LONG, '--', ...PAYLOADS],
      labels: Object.fromEntries(PAYLOADS.map(text => [asLabel(text), asLabel(text)])),
    })
    await tenant.liveLink(waiting.id, 'control')
    const over = await tenant.run({ image: 'docker.io/certyn/agent:v0.1.0' })
    await tenant.liveLink(over.id)
    await tenant.cancel(over.id)
    pages.pool = `/environments/runners/${poolId}`
    pages['a run that waits'] = `/runs/${waiting.id}`
    pages['a run that is over'] = `/runs/${over.id}`
    pages['a run that spoke'] = `/runs/${await speak()}`
  }

  /** A real one, whose log is the corpus. */
  async function speak(): Promise<string> {
    daemon = await Daemon.of(controlPlane, tenant, { name: 'speaker', env: { RUNNER_EXECUTOR: 'host' } })
    await daemon.online(tenant)
    const say = 'for (const text of process.argv.slice(1)) { console.log(text); console.error(text) }'
    const run = await tenant.run({ image: 'certyn/host', command: [...node(say), '--', ...PAYLOADS] })
    expect((await tenant.ends(run.id)).status).toBe('succeeded')
    return run.id
  }

  async function visitorOf(name: string): Promise<Visitor> {
    const { secret } = await tenant.api.post('/api-keys', { name, role: 'admin' }, CreatedApiKey)
    return await Visitor.signedIn(browser, controlPlane.url, secret)
  }

  async function open(page: string, size = DESKTOP): Promise<void> {
    await admin.page.setViewportSize(size)
    await admin.go(pages[page] ?? page)
    await admin.settles()
  }

  /** Of every kind there is, with odd names; the real answer has what happens to be so. */
  async function needAttention(): Promise<void> {
    const { poolId: pool_id } = tenant
    const [runner_id, at] = [(await tenant.runners())[0]?.id, new Date().toISOString()]
    const [token_id, latest_run_id] = ['tok_01jd0000000000000000000000', 'run_01jd0000000000000000000000']
    const attention = PAYLOADS.flatMap(text => [
      { kind: 'no_runner_online', pool_id, pool_name: text, queued: 2 },
      { kind: 'runner_offline', pool_id, pool_name: text, runner_id, runner_name: text, since: at },
      { kind: 'version_behind', pool_id, pool_name: text, runner_id, runner_name: text, version: text },
      { kind: 'token_expiring', pool_id, pool_name: text, token_id, token_name: text, expires_at: at },
    ])
    const lost = { kind: 'runs_lost', count: 1, latest_run_id }
    await admin.page.route('**/overview?*', async route => {
      const json = { ...(await (await route.fetch()).json()), attention: [lost, ...attention] }
      await route.fulfill({ json: { ...json, unavailable: [pool_id] } })
    })
  }

  test('tells what needs attention, whatever it is called, and leads there', async () => {
    await needAttention()
    await open('overview')
    const lines = admin.page.getByRole('region', { name: 'Needs attention' }).getByRole('listitem')
    await lines.first().waitFor()
    expect(await lines.count()).toBe(2 + 4 * PAYLOADS.length)
    const told = await lines.evaluateAll(items =>
      items.map(item => [item.textContent, item.querySelector('a')?.getAttribute('href')]),
    )
    const pool = `/environments/runners/${tenant.poolId}`
    expect(told[0]).toEqual([expect.stringMatching(/^no answer.*does not answer at the moment/), pool])
    expect(told[1]).toEqual(['runs lost1 run lost with a runner', '/runs?status=lost'])
    for (const [at, text] of PAYLOADS.entries()) {
      const [stuck, offline, behind, expiring] = told.slice(2 + 4 * at)
      expect(stuck).toEqual([`no runner online${text}: 2 queued and nobody to take them`, pool])
      expect(offline?.[0]).toContain(`${text} in ${text}, last heard of`)
      expect(behind).toEqual([`version behind${text} in ${text} runs ${text}`, pool])
      expect(expiring?.[0]).toContain(`${text} of ${text}`)
    }
    expect(await admin.page.evaluate(MADE)).toEqual([null, 0])
    await admin.page.unroute('**/overview?*')
    expect(admin.complaints).toEqual([])
  })

  test.each<[string, (text: string) => string]>([
    ['environments', text => text],
    ['pools', text => text],
    ['pool', text => `${asLabel(text)}=${asLabel(text)}`],
    ['pool', text => text],
    ['a run that waits', text => `${asLabel(text)}=${asLabel(text)}`],
    ['a run that waits', text => text],
    ['a run that spoke', text => text],
    ['runs', text => text],
    ['API keys', text => text],
  ])('shows odd text as it is: %s', async (page, shown) => {
    await open(page)
    for (const text of PAYLOADS)
      await admin.page.getByText(shown(text)).first().waitFor({ state: 'attached' })
    expect(await admin.page.evaluate(MADE)).toEqual([null, 0])
    expect(admin.complaints).toEqual([])
  })

  test('shows odd text as it is in a title, a question and a notice', async () => {
    const { items } = await tenant.api.get('/pools?limit=200', pageOf(Pool))
    for (const { id, name } of items.filter(pool => pool.id !== tenant.poolId)) {
      await open(`/environments/runners/${id}`)
      await admin.page.getByRole('heading', { level: 1, name }).waitFor()
      expect(await admin.page.title()).toContain(name)
      await admin.press('Drain pool')
      await admin.page.getByRole('heading', { name: `Drain ${name}` }).waitFor()
      await admin.dialog.getByLabel('Note').fill(name)
      await admin.press('Drain')
      await admin.dialog.waitFor({ state: 'detached' })
      await admin.page.locator('.notices').getByText(name).waitFor()
      await admin.reads(`Note: ${name}`)
      await admin.press('Delete')
      await admin.dialog.getByLabel(`Type ${name} to confirm`).waitFor()
      expect(await admin.page.evaluate(MADE)).toEqual([null, 0])
    }
    expect(admin.complaints).toEqual([])
  })

  test('keeps to what axe asks for, in light and in dark, on a phone and a desktop, and never scrolls sideways', async () => {
    for (const page of Object.keys(pages)) {
      for (const size of [DESKTOP, PHONE]) {
        await open(page, size)
        const wide = await admin.page.evaluate('document.documentElement.scrollWidth - innerWidth')
        expect(wide, `${page} at ${size.width}`).toBeLessThanOrEqual(0)
        await admin.page.evaluate(AXE)
        for (const colorScheme of ['light', 'dark'] as const) {
          await admin.page.emulateMedia({ colorScheme })
          expect(
            await admin.page.evaluate(FIND_VIOLATIONS),
            `${page} at ${size.width}, ${colorScheme}`,
          ).toEqual([])
        }
      }
    }
  })

  test('keeps to what axe asks for in every dialog, and before anybody has signed in', async () => {
    const dialogs: Readonly<Record<string, readonly string[]>> = {
      pools: ['Create pool'],
      environments: ['Create environment'],
      pool: ['Create token', 'Drain pool', 'Settings', 'Delete', 'Drain speaker', 'Remove speaker'],
      runs: ['Start a run'],
      'API keys': ['Create key', 'Revoke visitor'],
      members: ['Add member'],
    }
    for (const [page, buttons] of Object.entries(dialogs)) {
      for (const button of buttons) {
        await open(page)
        await admin.press(button)
        await admin.dialog.waitFor()
        await admin.page.evaluate(AXE)
        expect(await admin.page.evaluate(FIND_VIOLATIONS), button).toEqual([])
      }
    }
    const nobody = await Visitor.open(browser, controlPlane.url)
    await nobody.go('/')
    await nobody.page.getByLabel('API key').waitFor()
    await nobody.page.evaluate(AXE)
    expect(await nobody.page.evaluate(FIND_VIOLATIONS)).toEqual([])
    await nobody.close()
  })

  test('shows a long command only in part, and all of it when asked', async () => {
    await open('a run that waits', PHONE)
    const command = admin.page.locator('.command')
    expect((await command.textContent())?.length).toBeLessThan(200)
    await admin.press('Show all of the command')
    expect(await command.textContent()).toBe(['node', '--eval', LONG, '--', ...PAYLOADS].join(' '))
    await admin.press('Show less of the command')
    expect((await command.textContent())?.length).toBeLessThan(200)
    expect(await admin.page.evaluate(MADE)).toEqual([null, 0])
  })

  test('says why a log is empty', async () => {
    await open('a run that waits')
    await admin.reads('The run has not started.')
    await open('a run that is over')
    await admin.reads('The run was never started, so it wrote nothing.')
  })

  test('says of a link that its run has ended', async () => {
    await open('live links')
    await admin.row('cty_link').getByText('run ended').waitFor()
    const rows = admin.row('cty_link')
    const told = (await rows.allTextContents()).map(text => [/run ended/.test(text), /Revoke/.test(text)])
    expect(told).toEqual([
      [true, false],
      [false, true],
    ])
  })

  test('tells time by the control plane’s clock, however wrong that of the browser is', async () => {
    for (const wrong of [HOUR_MS, -HOUR_MS]) {
      const visitor = await visitorOf('late')
      await visitor.page.addInitScript(`{ const now = Date.now; Date.now = () => now() + ${wrong} }`)
      await visitor.go(pages.pool ?? '')
      await visitor
        .row('speaker')
        .getByText(/^\d+ s ago$/)
        .waitFor()
      await visitor.close()
    }
  })

  test('does not jump, neither while it comes nor when it is refreshed', async () => {
    const visitor = await visitorOf('still')
    await visitor.page.addInitScript(WATCH_JUMPS)
    const felt: Record<string, number> = {}
    for (const [name, path] of Object.entries(pages)) {
      await visitor.go(path)
      await visitor.settles()
      if (['pool', 'overview'].includes(name)) await visitor.page.waitForTimeout(REFRESHED_MS)
      felt[name] = Number(await visitor.page.evaluate('jumps'))
    }
    expect(Object.entries(felt).filter(([, jumped]) => jumped >= JUMPS_FELT)).toEqual([])
    await visitor.close()
  })

  test('asks for no list without a limit, and is given no large answer', async () => {
    const visitor = await visitorOf('modest')
    const asked: string[] = []
    const sizes: number[] = []
    visitor.page.on('response', async response => {
      const url = new URL(response.url())
      if (!url.pathname.startsWith('/api/v1/') || url.pathname.endsWith('/logs')) return
      const body = await response.text().catch(() => '')
      sizes.push(body.length)
      // How many artifacts a run may leave is limited where they are taken in.
      const isList = body.startsWith('{"items":') && !url.pathname.endsWith('/artifacts')
      if (isList) asked.push(`${url.pathname} ${url.searchParams.get('limit')}`)
    })
    for (const path of Object.values(pages)) {
      await visitor.go(path)
      await visitor.settles()
    }
    expect(asked.length).toBeGreaterThan(10)
    expect(asked.filter(list => !list.endsWith(' 50'))).toEqual([])
    expect(Math.max(...sizes)).toBeLessThan(LARGEST_ANSWER_BYTES)
    await visitor.close()
  })

  test('lets Tab come to everything that can be used, and shows where it is', async () => {
    for (const page of ['pool', 'runs', 'a run that spoke', 'environments']) {
      await open(page)
      const all = await admin.page.evaluate(
        `[...document.querySelectorAll('${REACHABLE}')].map((one, at) => { one.dataset.at = at; return String(at) })`,
      )
      const reached = new Set<unknown>()
      for (let tab = 0; tab < (all as string[]).length; tab++) {
        await admin.page.keyboard.press('Tab')
        const [at, outline] = (await admin.page.evaluate(
          '[document.activeElement.dataset.at, getComputedStyle(document.activeElement).outlineStyle]',
        )) as string[]
        expect(outline, `${page}, ${at}`).not.toBe('none')
        reached.add(at)
      }
      expect([...reached], page).toEqual(all)
    }
  })

  test('can be used with the keyboard alone', async () => {
    await open('pools')
    const { keyboard } = admin.page
    const focused = () =>
      admin.page.evaluate('(document.activeElement.textContent || document.activeElement.id).trim()')
    await keyboard.press('Tab')
    expect(await focused()).toBe('Skip to the page')
    await keyboard.press('Enter')
    expect(await admin.page.evaluate('document.activeElement.id')).toBe('main')
    await keyboard.press('Tab')
    await keyboard.press('Tab')
    expect(await focused()).toBe('Create pool')
    await keyboard.press('Enter')
    await admin.dialog.waitFor()
    const strayed = `document.activeElement !== document.body && document.activeElement.closest('dialog') === null`
    for (let tab = 0; tab < 8; tab++) {
      await keyboard.press('Tab')
      expect(await admin.page.evaluate(strayed)).toBe(false)
    }
    await keyboard.press('Escape')
    await admin.dialog.waitFor({ state: 'detached' })
    expect(await focused()).toBe('Create pool')
  })
})
