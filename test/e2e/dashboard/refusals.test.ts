import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { CreatedApiKey, Pool, pageOf, type Role } from '../../../protocol/admin-api.ts'
import { NAME_LIMIT_CHARS } from '../../../protocol/limits.ts'
import { ControlPlane, type Tenant } from '../../support/control-plane.ts'
import { CHROMIUM } from '../../support/live.ts'
import { launchBrowser } from '../../support/viewer.ts'
import { Visitor } from '../../support/visitor.ts'

/** What the dashboard does when the API says no, and what it does not even offer. */

const IMAGE = 'docker.io/certyn/agent:v0.1.0'

describe.skipIf(CHROMIUM === undefined)('the dashboard', () => {
  const controlPlane = new ControlPlane()
  let browser: Browser
  let tenant: Tenant
  let admin: Visitor
  let newcomer: Visitor | undefined

  beforeAll(async () => {
    browser = await launchBrowser()
    await controlPlane.start()
    tenant = await controlPlane.tenant()
    admin = await Visitor.signedIn(browser, controlPlane.url, await keyOf('admin').then(key => key.secret))
  })
  beforeEach(({ onTestFailed }) => onTestFailed(() => admin.report()))
  afterAll(async () => {
    await browser?.close()
    await controlPlane.stop()
  })

  function keyOf(role: Role) {
    return tenant.api.post('/api-keys', { name: `a ${role}`, role }, CreatedApiKey)
  }

  test('lets nobody in with a wrong key, and says so', async () => {
    const visitor = await Visitor.open(browser, controlPlane.url)
    await visitor.go('/environments/runners')
    await visitor.signIn('cty_key_no_such_key')
    await visitor.page.getByRole('alert').waitFor()
    expect(await visitor.page.getByRole('alert').textContent()).toBe('The credential is not known here.')
    expect(await visitor.page.getByRole('navigation').count()).toBe(0)
    // What was typed can be mended.
    expect(await visitor.page.getByLabel('API key').inputValue()).toBe('cty_key_no_such_key')
    await visitor.close()
  })

  test('offers a viewer and a member what they may do, and the API refuses them the rest', async () => {
    const mayStart: Readonly<Record<Exclude<Role, 'admin'>, number>> = { viewer: 0, member: 1 }
    for (const role of ['viewer', 'member'] as const) {
      const visitor = await Visitor.signedIn(browser, controlPlane.url, (await keyOf(role)).secret)
      const places = await visitor.page.getByRole('navigation', { name: 'Places' }).textContent()
      expect(places).toBe('OverviewEnvironmentsSelf-hosted runnersRunsLive links')
      await visitor.go(`/environments/runners/${tenant.poolId}`)
      await visitor.reads('No runner has joined this pool yet.')
      expect(await visitor.page.getByRole('main').getByRole('button').count()).toBe(0)
      expect(await visitor.page.getByText('Registration tokens').count()).toBe(0)
      await visitor.go('/runs')
      await visitor.reads('There is no run yet.')
      expect(await visitor.page.getByRole('button', { name: 'Start a run' }).count()).toBe(mayStart[role])
      // With the cookie of the page, as if a button had been there after all.
      const status = await visitor.page.evaluate(
        `fetch('/api/v1/pools/${tenant.poolId}/drain', { method: 'POST' }).then(answer => answer.status)`,
      )
      expect(status).toBe(403)
      await visitor.go('/api-keys')
      await visitor.reads('This needs the role admin.')
      await visitor.close()
    }
    expect((await tenant.pool()).state).toBe('active')
  })

  test.each<[path: string, text: string, action?: string]>([
    ['/', 'Nothing: every pool with queued runs has a runner online.'],
    ['/environments', 'There is no environment yet.', 'Create environment'],
    ['/environments/runners', 'There is no runner pool yet.', 'Create pool'],
    ['/runs', 'There is no run yet. Start one here', 'Start a run'],
    ['/runs?status=lost', 'No run is like that.', 'Show all runs'],
    ['/live-links', 'There is no live link. Make one on the page of a running run'],
    ['/members', 'Nobody signs in through Cloudflare Access yet', 'Add member'],
  ])('says what to do where there is nothing yet: %s', async (path, text, action) => {
    newcomer ??= await Visitor.signedIn(browser, controlPlane.url, await controlPlane.adminKey('New'))
    await newcomer.go(path)
    await newcomer.page.locator('.empty').getByText(text).waitFor()
    if (action === undefined) return
    await newcomer.page.getByRole('button', { name: action }).first().waitFor()
  })

  test('shows all runs where none is like that', async () => {
    await newcomer?.go('/runs?status=lost')
    await newcomer?.press('Show all runs')
    await newcomer?.reads('There is no run yet.')
    expect(newcomer?.page.url()).toBe(`${controlPlane.url}/runs`)
  })

  test('warns before runs are routed to a pool that nobody serves', async () => {
    await admin.go('/environments')
    await admin.press('Create environment')
    await admin.dialog.getByLabel('Runner pool').selectOption('pool')
    await admin.reads('No runner of pool is online: runs will wait until one is.')
    await admin.dialog.getByLabel('Execution target').selectOption('Cloud')
    await admin.page.getByText('No runner of pool is online').waitFor({ state: 'detached' })
  })

  test('shows the words of the API at the field they are about, and keeps what was typed', async () => {
    await admin.go('/environments/runners')
    await admin.press('Create pool')
    const name = admin.dialog.getByLabel('Name')
    await name.fill('n'.repeat(NAME_LIMIT_CHARS + 1))
    await admin.dialog.getByLabel('Description').fill('typed before')
    await admin.press('Create pool')
    await admin.dialog.getByRole('alert').waitFor()
    expect(await name.getAttribute('aria-invalid')).toBe('true')
    const about = await name.getAttribute('aria-describedby')
    expect(await admin.page.locator(`[id="${about}"]`).textContent()).toContain(String(NAME_LIMIT_CHARS))
    expect(await admin.dialog.getByLabel('Description').inputValue()).toBe('typed before')
    await admin.press('Cancel')
    expect((await tenant.api.get('/pools', pageOf(Pool))).items).toHaveLength(1)
  })

  test('does not delete a pool with live runs, and shows why', async () => {
    const run = await tenant.run({ image: IMAGE })
    await admin.go(`/environments/runners/${tenant.poolId}`)
    await admin.press('Delete')
    await admin.dialog.getByLabel('Type pool to confirm').fill('pol')
    expect(await admin.dialog.getByRole('button', { name: 'Delete pool' }).isDisabled()).toBe(true)
    await admin.dialog.getByLabel('Type pool to confirm').fill('pool')
    await admin.press('Delete pool')
    const said = await admin.dialog.getByRole('alert').textContent()
    const refused = await tenant.api.remove(`/pools/${tenant.poolId}`).catch(error => String(error))
    expect(String(refused)).toContain(said)
    await admin.press('Keep it')
    expect((await tenant.pool()).stats.queued).toBe(1)
    await tenant.cancel(run.id)
  })

  test('asks whose session has ended to sign in again, over the page and what was typed in it', async () => {
    const key = await keyOf('admin')
    const visitor = await Visitor.signedIn(browser, controlPlane.url, key.secret)
    await visitor.go('/environments')
    await visitor.press('Create environment')
    await visitor.dialog.getByLabel('Name').fill('typed before the end')
    await tenant.api.remove(`/api-keys/${key.id}`)
    await visitor.page.getByRole('dialog', { name: 'Sign in again' }).waitFor()
    // Chromium closes a dialog that is asked often enough.
    for (let press = 0; press < 8; press++) await visitor.page.keyboard.press('Escape')
    expect(await visitor.page.getByRole('dialog', { name: 'Sign in again' }).isVisible()).toBe(true)
    await visitor.signIn(key.secret)
    await visitor.page.getByRole('alert').waitFor()
    await visitor.page.getByLabel('API key').fill((await keyOf('admin')).secret)
    await visitor.press('Sign in')
    await visitor.page.getByRole('dialog', { name: 'Sign in again' }).waitFor({ state: 'detached' })
    const form = visitor.page.getByRole('dialog', { name: 'Create an environment' })
    expect(await form.getByLabel('Name').inputValue()).toBe('typed before the end')
    await form.getByLabel('Execution target').selectOption('Cloud')
    await form.getByRole('button', { name: 'Save' }).click()
    await visitor.row('typed before the end').waitFor()
    await visitor.close()
  })

  test('says when the control plane is gone, keeps what it shows, and goes on when it is back', async () => {
    await admin.go('/environments')
    await admin.row('staging').waitFor()
    await controlPlane.stop()
    await admin.page.getByRole('link', { name: 'Self-hosted runners' }).first().click()
    await admin.reads('The control plane cannot be reached; what you see may be old.')
    await controlPlane.start()
    await admin.page.getByText('The control plane cannot be reached').first().waitFor({ state: 'detached' })
    await admin.page.getByRole('link', { name: 'pool', exact: true }).waitFor()
  })

  test.each<[path: string, what: string, back: string, place: string]>([
    ['/whatever', 'page', 'Overview', '/'],
    ['/runs/nope', 'run', 'All runs', '/runs'],
    ['/runs/run_01jd0000000000000000000000', 'run', 'All runs', '/runs'],
    ['/environments/runners/nope', 'pool', 'All pools', '/environments/runners'],
    ['/live/garbage', 'run', 'All runs', '/runs'],
  ])('says what is missing at %s, and leads to where it may be', async (path, what, back, place) => {
    await admin.go(path)
    await (path.startsWith('/live')
      ? admin.reads('this is not the address of a run')
      : admin.page.getByRole('heading', { level: 1, name: `There is no such ${what}` }).waitFor())
    await admin.page.getByRole('link', { name: back }).last().click()
    await admin.settles()
    expect(admin.page.url()).toBe(`${controlPlane.url}${place}`)
  })

  test('asks for the page to be loaded again when a part of it is gone', async () => {
    await admin.go('/environments/runners')
    await admin.page.route('**/assets/part-*', route => route.fulfill({ status: 404 }))
    await admin.page.getByRole('link', { name: 'Members' }).click()
    await admin.reads('This part of the page could not be loaded.')
    await admin.page.unroute('**/assets/part-*')
    await admin.press('Load the page again')
    await admin.page.getByRole('heading', { name: 'Members' }).waitFor()
  })

  test('goes on with a log where it was left, whatever comes between, until the log has ended', async () => {
    const run = await tenant.run({ image: IMAGE })
    const piece = (type: string, at: number, text: string) =>
      `event: ${type}\nid: ses.${at}\ndata: ${JSON.stringify({ offset: at, text })}\n\n`
    const events = (...pieces: string[]) => ({
      body: pieces.join(''),
      headers: { 'content-type': 'text/event-stream' },
    })
    // Where there is none the control plane is not reached.
    const answers = [
      events(piece('session', 0, ''), piece('log', 4, 'one\n')),
      { status: 503 },
      { status: 204 },
      null,
      // The last of it does not arrive whole.
      events(piece('log', 8, 'two\n'), piece('log', 14, 'three\n').slice(0, -2)),
      events(piece('log', 14, 'three\n'), piece('end', 14, '')),
    ]
    const from: (string | undefined)[] = []
    const lost: number[] = []
    const isLost = admin.page.getByText('The log does not come in at the moment.')
    await admin.page.route('**/logs?follow=1', async route => {
      from.push(route.request().headers()['last-event-id'])
      lost.push(await isLost.count())
      const answer = answers[from.length - 1]
      if (answer === undefined || answer === null) await route.abort()
      else await route.fulfill(answer)
    })
    await admin.go(`/runs/${run.id}`)
    await admin.page.getByRole('log').getByText('three').waitFor()
    expect(await admin.page.getByRole('log').locator('p').allTextContents()).toEqual([
      'one',
      'two',
      'three',
      '',
    ])
    await isLost.waitFor({ state: 'detached' })
    await admin.page.waitForTimeout(2_000)
    expect(from).toEqual([undefined, 'ses.4', 'ses.4', 'ses.4', 'ses.4', 'ses.8'])
    // One that is only told to come again has lost nothing.
    expect(lost).toEqual([0, 0, 1, 1, 1, 0])
    await admin.page.unroute('**/logs?follow=1')
    await tenant.cancel(run.id)
  })
})
