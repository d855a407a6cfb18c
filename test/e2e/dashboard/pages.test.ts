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
/** What a payload would have made if it had been taken for more than text. */
const MADE = `[globalThis.ran ?? null, document.querySelectorAll('#root script, #root style, img[src="x"], svg[onload]').length]`
const PHONE = { width: 390, height: 844 }
const DESKTOP = { width: 1440, height: 900 }

describe.skipIf(CHROMIUM === undefined)('every page', () => {
  const controlPlane = new ControlPlane()
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
      image: 'docker.io/certyn/agent:v0.1.0',
      labels: Object.fromEntries(PAYLOADS.map(text => [asLabel(text), asLabel(text)])),
    })
    pages.pool = `/environments/runners/${poolId}`
    pages['a run that waits'] = `/runs/${waiting.id}`
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

  async function open(page: string, size = DESKTOP): Promise<void> {
    await admin.page.setViewportSize(size)
    await admin.go(pages[page] ?? page)
    await admin.settles()
  }

  test.each<[string, (text: string) => string]>([
    ['overview', () => 'Needs attention'],
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
