import type { Browser } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Environment, Pool, pageOf } from '../../../protocol/admin-api.ts'
import { apiClient } from '../../../scripts/up/api.ts'
import { boardRun } from '../../support/board.ts'
import { ControlPlane, Tenant } from '../../support/control-plane.ts'
import { engine, HAS_ENGINE, noContainersLeft, nodeImage } from '../../support/engine.ts'
import { JOBS, letEnd } from '../../support/jobs.ts'
import { agentImage, CAN_WATCH, CHROMIUM } from '../../support/live.ts'
import { Daemon } from '../../support/runner.ts'
import { until } from '../../support/until.ts'
import { launchBrowser, Viewer } from '../../support/viewer.ts'
import { Visitor } from '../../support/visitor.ts'

/** Everything that the documentation has an admin do, done in the dashboard and seen there, with a real runner. */

const RUNNER = 'runner-east-1'
const MARK = 0x5a3c
const SPEAK_AND_WAIT = JOBS.waitThenExit(0).map((part, i) =>
  i === 2 ? `console.log('said before the end'); ${part}` : part,
)

describe.skipIf(!HAS_ENGINE || CHROMIUM === undefined)('an admin', () => {
  const controlPlane = new ControlPlane({ Features__SelfHostedRelayEnabled: 'true' })
  let browser: Browser
  let key: string
  let image: string
  let admin: Visitor
  let token: string
  let tenant: Tenant
  let daemon: Daemon | undefined

  beforeAll(async () => {
    image = await nodeImage()
    browser = await launchBrowser()
    await controlPlane.start()
    key = await controlPlane.adminKey('Acme')
    admin = await Visitor.open(browser, controlPlane.url)
  })
  beforeEach(({ onTestFailed }) => onTestFailed(() => admin.report()))
  afterEach(() => expect(admin.complaints).toEqual([]))
  afterAll(async () => {
    await browser?.close()
    await daemon?.end('SIGTERM')
    await controlPlane.stop()
  })

  async function start(command: readonly string[]): Promise<string> {
    await admin.go('/runs')
    await admin.press('Start a run')
    await admin.dialog.getByLabel('Image').fill(image)
    await admin.dialog.getByLabel('Command').fill(command.join('\n'))
    await admin.press('Start')
    await admin.page.waitForURL(/\/runs\/run_/)
    return new URL(admin.page.url()).pathname.slice('/runs/'.length)
  }

  async function showsStatus(status: string): Promise<void> {
    await admin.page
      .getByRole('region', { name: 'The run at a glance' })
      .getByRole('status')
      .getByText(status, { exact: true })
      .waitFor()
  }

  async function goToPool(): Promise<void> {
    await admin.page.getByRole('link', { name: 'Self-hosted runners' }).first().click()
    await admin.page.getByRole('link', { name: 'office' }).click()
    await admin.page.getByRole('heading', { level: 1, name: 'office' }).waitFor()
  }

  test('signs in with a key that the browser does not keep', async () => {
    await admin.go('/')
    await admin.signIn(key)
    await admin.page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor()
    const kept = await admin.page.evaluate(
      'JSON.stringify([document.cookie, { ...localStorage }, { ...sessionStorage }])',
    )
    expect(kept).toBe('["",{},{}]')
    const [cookie] = await admin.page.context().cookies()
    expect(cookie).toMatchObject({ httpOnly: true, sameSite: 'Strict' })
    expect(cookie?.value).not.toContain(key)
  })

  test('creates a pool and a token, and sees the runner come that is started with the shown command', async () => {
    await admin.page.getByRole('link', { name: 'Self-hosted runners' }).first().click()
    await admin.reads('There is no runner pool yet.')
    await admin.page.getByRole('button', { name: 'Create pool' }).first().click()
    await admin.dialog.getByLabel('Name').fill('office')
    await admin.press('Create pool')
    await admin.page.getByRole('heading', { level: 1, name: 'office' }).waitFor()

    await admin.press('Create token')
    await admin.dialog.getByLabel('Name').fill('east rack')
    await admin.press('Create token')
    await admin.reads('This is the only time the token is shown.')
    const [shown, command] = await admin.dialog.locator('pre').allTextContents()
    const env = Object.fromEntries(
      [...(command ?? '').matchAll(/-e (\w+)=(\S+)/g)].map(([, name, value]) => [name, value ?? '']),
    )
    expect(env).toMatchObject({ CONTROL_PLANE_URL: controlPlane.url, REGISTRATION_TOKEN: shown })
    token = shown ?? ''
    await admin.reads('Waiting for the first heartbeat')
    daemon = Daemon.with({ name: RUNNER, env }).start()
    await admin.dialog.getByText(`${RUNNER} is online.`).waitFor()
    await admin.press('Done, it is stored safely')
    await admin.row(RUNNER).getByText('online', { exact: true }).waitFor()
    expect(await admin.row(RUNNER).textContent()).toMatch(/\d+ s ago.*0 \/ 2/)
    await admin.row('east rack').getByText('1 of any').waitFor()
    expect(await admin.page.content()).not.toContain(token)
  })

  test('routes an environment to the pool', async () => {
    await admin.page.getByRole('link', { name: 'Environments' }).first().click()
    await admin.page.getByRole('button', { name: 'Create environment' }).first().click()
    await admin.dialog.getByLabel('Name').fill('staging')
    await admin.dialog.getByLabel('Execution target').selectOption('Self-hosted runner')
    await admin.dialog.getByLabel('Runner pool').selectOption('office')
    await admin.press('Save')
    await admin.row('staging').getByRole('link', { name: 'office' }).waitFor()
    const api = apiClient(controlPlane.url, key)
    const [pool] = (await api.get('/pools', pageOf(Pool))).items
    const [environment] = (await api.get('/environments', pageOf(Environment))).items
    expect(environment).toMatchObject({ name: 'staging', pool_id: pool?.id })
    tenant = new Tenant(api, pool?.id ?? '', environment?.id ?? '')
  })

  test('starts a run, reads its log while it is written and searches it after the end', async () => {
    const runId = await start(SPEAK_AND_WAIT)
    await showsStatus('running')
    const log = admin.page.getByRole('log')
    await log.getByText('said before the end').waitFor()
    letEnd(daemon?.stateDir ?? '', (await tenant.get(runId)).session_id ?? '')
    await showsStatus('succeeded')
    await admin.page.getByRole('list').getByText('succeeded', { exact: true }).waitFor()
    await admin.page.reload()
    await log.getByText('said before the end').waitFor()
    const search = admin.page.getByLabel('Search the log')
    await search.fill('BEFORE the end')
    await admin.reads('1 line')
    await search.fill('nothing of the kind')
    await admin.reads('0 lines')
  })

  test('is told that a runner starts an agent image of another release line', async () => {
    const repo = 'certyn/agent'
    const tag = `v99.0.${process.pid}`
    await engine().getImage(image).tag({ repo, tag })
    try {
      for (let runs = 0; runs < 2; runs++) {
        const { id } = await tenant.run({ image: `${repo}:${tag}`, command: JOBS.succeed })
        expect((await tenant.ends(id)).status).toBe('succeeded')
      }
    } finally {
      await engine().getImage(`${repo}:${tag}`).remove()
    }
    await goToPool()
    await admin.row(RUNNER).getByText(`agent 99.0.${process.pid}`).waitFor()
    expect(await admin.row(RUNNER).textContent()).toContain('is of another release line')
    expect(daemon?.log().split('the agent image is of another release line than this runner')).toHaveLength(2)
  })

  test.skipIf(!CAN_WATCH)('watches a run live', async () => {
    const run = await tenant.run(boardRun(agentImage(), MARK))
    await tenant.reaches(run.id, 'running')
    const viewer = await Viewer.behind(admin.page)
    await admin.go(`/runs/${run.id}`)
    await admin.press('Watch')
    const since = await viewer.sees('the board', board => board.mark === MARK)
    await viewer.sees('it count up', board => board.mark === MARK && board.count > since.count + 5)
    await admin.press('Take control')
    await admin.reads('You control this browser')
    await admin.page.getByRole('img', { name: 'The browser of the run' }).click()
    await viewer.sees('the click', board => board.mark === MARK && board.clicks > 0)
    await admin.page.keyboard.press('Shift+Escape')
    letEnd(daemon?.stateDir ?? '', (await tenant.get(run.id)).session_id ?? '')
    await showsStatus('succeeded')
    // Who takes control does not make the runner begin again.
    const events = await tenant.eventsToEnd(run.id)
    expect(events.filter(({ type }) => type === 'stream_opened')).toHaveLength(1)
  })

  test('drains the pool, sees why a run waits meanwhile, and resumes it', async () => {
    await goToPool()
    await admin.press('Drain pool')
    await admin.dialog.getByLabel('Note').fill('kernel update')
    await admin.press('Drain')
    await admin.reads('Note: kernel update')
    const runId = await start(JOBS.succeed)
    await admin.reads('It waits until the pool or a runner is resumed.')
    await heartbeats(2)
    expect((await tenant.get(runId)).status).toBe('queued')
    await showsStatus('queued')
    await goToPool()
    await admin.press('Resume pool')
    await admin.page.getByRole('button', { name: 'Drain pool' }).waitFor()
    expect((await tenant.ends(runId)).status).toBe('succeeded')
  })

  /** The runner is given its leases with these. */
  async function heartbeats(count: number): Promise<void> {
    for (let seen = 0; seen < count; seen++) {
      const [before] = await tenant.runners()
      await until('the next heartbeat', async () => {
        const [now] = await tenant.runners()
        return now?.last_heartbeat_at !== before?.last_heartbeat_at
      })
    }
  }

  test('cancels a run', async () => {
    const runId = await start(JOBS.waitThenExit(0))
    await showsStatus('running')
    await admin.press('Cancel run')
    await admin.page.getByRole('heading', { name: /^Cancel run_/ }).waitFor()
    await admin.press('Cancel it')
    await showsStatus('cancelled')
    expect((await tenant.get(runId)).status).toBe('cancelled')
    await admin.page.getByRole('button', { name: 'Run again' }).waitFor()
  })

  test('revokes the token, which lets nobody in any more, and leaves the runner at work', async () => {
    await goToPool()
    await admin.press('Revoke east rack')
    await admin.confirm('east rack', 'Revoke token')
    await admin.row('east rack').getByText('revoked').waitFor()
    const late = Daemon.with({
      name: 'late',
      env: {
        CONTROL_PLANE_URL: controlPlane.url,
        RUNNER_POOL_ID: tenant.poolId,
        REGISTRATION_TOKEN: token,
        RUNNER_NAME: 'late',
      },
    }).start()
    await until('the runner is refused', () => late.log().includes('create a new registration token'))
    await late.end('SIGTERM')
    const runners = await tenant.runners()
    expect(runners.map(({ name, status }) => [name, status])).toEqual([[RUNNER, 'online']])
    await noContainersLeft(runners.map(({ id }) => id))
  })
})
