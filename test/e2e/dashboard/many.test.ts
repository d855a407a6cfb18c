import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Environment, Pool, pageOf } from '../../../protocol/admin-api.ts'
import { ControlPlane, type Tenant } from '../../support/control-plane.ts'
import { CHROMIUM } from '../../support/live.ts'
import { launchBrowser } from '../../support/viewer.ts'
import { Visitor } from '../../support/visitor.ts'

/** A tenant that has more of everything than a page holds. */

const PAGE = 50
const NAMED = PAGE + 10
const RUNS = 2 * PAGE + 10
/** On the third page, and away from its end. */
const FAR = 2 * PAGE + 4
/** Of a line of text. */
const SAME_PLACE_PX = 4

describe.skipIf(CHROMIUM === undefined)('a tenant with much', () => {
  const controlPlane = new ControlPlane()
  let browser: Browser
  let tenant: Tenant
  let admin: Visitor

  beforeAll(async () => {
    browser = await launchBrowser()
    await controlPlane.start()
    tenant = await controlPlane.tenant()
    const key = tenant.api.headers.authorization?.slice('Bearer '.length) ?? ''
    admin = await Visitor.signedIn(browser, controlPlane.url, key)
    for (let at = 0; at < NAMED; at++) {
      const { id } = await tenant.api.post('/pools', { name: `rack-${at}` }, Pool)
      const body = { name: `team-${at}`, execution_target: 'self_hosted', pool_id: id }
      await tenant.api.post('/environments', body, Environment)
    }
    for (let run = 0; run < RUNS; run++) await tenant.run({ image: 'docker.io/certyn/agent:v0.1.0' })
  })
  beforeEach(({ onTestFailed }) => onTestFailed(() => admin.report()))
  afterAll(async () => {
    await browser?.close()
    await controlPlane.stop()
  })

  const rows = () => admin.page.getByRole('region', { name: 'Runs' }).locator('tbody').getByRole('row')
  const far = () => rows().nth(FAR).getByRole('link')

  async function showAll(path: string): Promise<void> {
    await admin.go(path)
    for (let shown = PAGE; shown < RUNS; shown += PAGE) {
      await rows()
        .nth(shown - 1)
        .waitFor()
      await admin.press('Show more')
    }
    await rows()
      .nth(RUNS - 1)
      .waitFor()
  }

  /** How far below the top of the screen the far run is shown, once it stays there. */
  async function placeOfFar(): Promise<number> {
    let last = Number.NaN
    for (;;) {
      const { y } = (await far().boundingBox()) ?? { y: Number.NaN }
      if (y === last) return y
      last = y
      await admin.page.waitForTimeout(300)
    }
  }

  test.each([
    ['at once', async () => undefined],
    ['when the other page was loaded anew', () => admin.page.reload()],
  ])('is shown a list where it was left, with what it was filtered by: %s', async (_, meanwhile) => {
    await showAll('/runs?status=queued')
    await far().scrollIntoViewIfNeeded()
    const before = await placeOfFar()
    await far().click()
    await admin.reads('Why it waits')
    expect(await admin.page.evaluate('scrollY')).toBe(0)
    await meanwhile()
    await admin.reads('Why it waits')
    await admin.page.goBack()
    await far().waitFor()
    expect(Math.abs((await placeOfFar()) - before)).toBeLessThan(SAME_PLACE_PX)
    expect(await admin.page.getByLabel('Status').inputValue()).toBe('queued')
    expect(await rows().count()).toBe(RUNS)
    expect(admin.complaints).toEqual([])
  })

  test('goes on with the keyboard from the run it came from', async () => {
    await admin.go('/runs')
    const run = rows().nth(7).getByRole('link')
    await run.focus()
    await admin.page.keyboard.press('Enter')
    await admin.reads('Why it waits')
    expect(await admin.page.evaluate('document.activeElement.id')).toBe('main')
    await admin.page.goBack()
    await run.waitFor()
    expect(await run.evaluate(link => link === link.ownerDocument.activeElement)).toBe(true)
  })

  const options = (label: string) => admin.page.getByLabel(label, { exact: true }).getByRole('option')

  test('finds a pool for an environment that no page holds any more, by its name', async () => {
    await admin.go('/environments')
    await admin.press('Create environment')
    expect(await options('Runner pool').getByText('pool', { exact: true }).count()).toBe(0)
    await admin.dialog.getByLabel('Find by name: Runner pool').fill('POOL')
    await options('Runner pool').getByText('pool', { exact: true }).waitFor()
    await admin.page.keyboard.press('Enter')
    await admin.reads('No runner of pool is online')
    await admin.dialog.getByLabel('Name', { exact: true }).fill('found')
    await admin.press('Save')
    await admin.row('found').getByRole('link', { name: 'pool', exact: true }).waitFor()
    const { items } = await tenant.api.get('/environments?name=found', pageOf(Environment))
    expect(items).toMatchObject([{ pool_id: tenant.poolId }])
  })

  test('starts a run for an environment that no page holds any more, found by its name', async () => {
    await admin.go('/runs')
    await admin.press('Start a run')
    await admin.dialog.getByLabel('Find by name: Environment').fill('stag')
    const place = admin.dialog.getByLabel('Environment', { exact: true })
    await admin.reads('1 found.')
    await place.selectOption('staging')
    await admin.dialog.getByLabel('Image').fill('docker.io/certyn/agent:v0.1.0')
    await admin.press('Start')
    await admin.page.waitForURL(/\/runs\/run_/)
    await admin.page.getByRole('link', { name: 'staging' }).waitFor()
  })

  test('filters runs by what no page holds any more, with few calls, and names it after a reload', async () => {
    const asked: string[] = []
    admin.page.on('request', request => asked.push(new URL(request.url()).pathname))
    await admin.go('/runs')
    await rows().first().getByText('staging').waitFor()
    for (const [label, name] of [
      ['Environment', 'staging'],
      ['Pool', 'pool'],
    ] as const) {
      await admin.page.getByLabel(`Find by name: ${label}`).fill(name)
      await options(label).getByText(name, { exact: true }).waitFor()
      await admin.page.keyboard.press('Enter')
    }
    await admin.page.waitForURL(/environment_id=.*pool_id=/)
    await admin.page.reload()
    await rows().first().getByText('staging').waitFor()
    for (const [label, name] of [
      ['Environment', 'staging'],
      ['Pool', 'pool'],
    ] as const) {
      await options(label).getByText(name, { exact: true }).waitFor({ state: 'attached' })
      expect(
        await admin.page.getByLabel(label, { exact: true }).locator('option:checked').textContent(),
      ).toBe(name)
    }
    const named = asked.filter(path => ['/api/v1/pools', '/api/v1/environments'].includes(path))
    // Of each list, before the reload and after it: a page, what was typed, and the names that it lacks.
    expect(named.length).toBeLessThanOrEqual(12)
    expect(admin.complaints).toEqual([])
  })

  test('is shown no more at once than it had asked for', async () => {
    await admin.go('/runs?pages=2')
    await rows().nth(PAGE).waitFor()
    await admin.settles()
    expect(await rows().count()).toBe(2 * PAGE)
    await admin.go('/runs?pages=odd')
    await rows().first().waitFor()
    expect(await rows().count()).toBe(PAGE)
  })
})
