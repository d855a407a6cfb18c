import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ControlPlane, type Tenant } from '../../support/control-plane.ts'
import { CHROMIUM } from '../../support/live.ts'
import { launchBrowser } from '../../support/viewer.ts'
import { Visitor } from '../../support/visitor.ts'

/** A tenant that has more of everything than a page holds. */

const PAGE = 50
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
