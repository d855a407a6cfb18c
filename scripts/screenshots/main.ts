import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { chromium, type Page } from 'playwright-core'
import { CreatedRegistrationToken, pageOf, Runner } from '../../protocol/admin-api.ts'
import { CreatedLiveLink } from '../../protocol/live.ts'
import { isTerminal, Run } from '../../protocol/run.ts'
import { type Child, startChild } from '../up/child.ts'
import { hostSample } from '../up/sample.ts'
import { writeDay } from './history.ts'
import { type Fleet, seedFleet } from './seed.ts'

/**
 * `npm run screenshots`: every page of the dashboard, on a phone and on a desktop, in light and in dark, of a control
 * plane that is made for it, into dist/screenshots. Needs Chromium on this host.
 */
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const OUT = path.join(ROOT, 'dist', 'screenshots')
const OPERATOR_KEY = 'operator-key-of-the-screenshots'
const CHROMIUM = '/usr/bin/chromium'
const HEARTBEAT_MS = 4_000
const WAIT_LIMIT_MS = 120_000
const WATCHED_SECONDS = 900
const SIZES = { phone: { width: 390, height: 844 }, desktop: { width: 1440, height: 900 } }
const SCHEMES = ['light', 'dark'] as const

const folder = mkdtempSync(path.join(tmpdir(), 'certyn-screenshots-'))
const children: Child[] = []
try {
  mkdirSync(OUT, { recursive: true })
  await takeAll()
  console.log(`Screenshots of every page are in ${path.relative(process.cwd(), OUT)}.`)
} finally {
  for (const child of children.toReversed()) await child.stop()
  rmSync(folder, { recursive: true, force: true })
}
process.exit(0)

async function takeAll(): Promise<void> {
  const first = await startControlPlane(0)
  const fleet = await seedFleet(first.origin, OPERATOR_KEY)
  await first.child.stop()
  if (writeDay(path.join(folder, 'control-plane', 'data'), Date.now()) === 0) {
    throw new Error('no pool was found whose history could be written')
  }
  // At the same address: the runners go on with it.
  const { origin } = await startControlPlane(Number(new URL(first.origin).port))
  const heartbeats = setInterval(() => {
    for (const runner of fleet.runners) void runner.sync().catch(() => undefined)
  }, HEARTBEAT_MS)
  try {
    const runs = await realRuns(origin, fleet)
    await shoot(origin, fleet, runs)
  } finally {
    clearInterval(heartbeats)
  }
}

async function startControlPlane(port: number): Promise<{ child: Child; origin: string }> {
  const child = startChild({
    name: 'control plane',
    program: 'scripts/control-plane/main.ts',
    args: ['--port', String(port), '--state-dir', path.join(folder, 'control-plane')],
    env: {
      ...process.env,
      OPERATOR_KEY,
      Features__SelfHostedRunnersEnabled: 'true',
      Features__SelfHostedRelayEnabled: 'true',
    },
    logFile: path.join(folder, `control-plane-${children.length}.log`),
  })
  children.push(child)
  const origin = await until(
    'the control plane is ready',
    () => /ready on (http:\/\/\S+)/.exec(child.tail(50))?.[1],
  )
  return { child, origin }
}

/** One to be watched, on a runner that is real, and one that has left a log and a picture. */
async function realRuns(
  origin: string,
  { api, pools, environments }: Fleet,
): Promise<{ live: string; ended: string }> {
  const { secret } = await api.post(
    `/pools/${pools.frankfurt.id}/registration-tokens`,
    { name: 'rack 14' },
    CreatedRegistrationToken,
  )
  children.push(
    startChild({
      name: 'runner',
      program: 'runner/main.ts',
      args: [],
      env: {
        ...process.env,
        CONTROL_PLANE_URL: origin,
        RUNNER_POOL_ID: pools.frankfurt.id,
        REGISTRATION_TOKEN: secret,
        RUNNER_NAME: 'fra1-rack14-a',
        MAX_CONCURRENCY: '1',
        RUNNER_LABELS: 'real=yes',
        RUNNER_STATE_DIR: path.join(folder, 'runner'),
        RUNNER_EXECUTOR: 'host',
        RUNNER_MIN_DISK_MB: '0',
      },
      logFile: path.join(folder, 'runner.log'),
    }),
  )
  await until('the runner is online', async () => {
    const { items } = await api.get(`/pools/${pools.frankfurt.id}/runners`, pageOf(Runner))
    return items.some(({ status }) => status === 'online')
  })
  await until('one runner has been silent for long enough', async () => {
    const { items } = await api.get(`/pools/${pools.berlin.id}/runners`, pageOf(Runner))
    return items.some(({ status }) => status === 'offline')
  })
  // What was seeded for this pool is there to be seen waiting.
  const sample = await hostSample(ROOT)
  const start = (seconds: number) =>
    api.post(
      `/environments/${environments.nightly.id}/runs`,
      { image: sample.image, ...sample.run(seconds), labels: { real: 'yes' }, priority: 100, stream: true },
      Run,
    )
  const read = (id: string) => api.get(`/runs/${id}`, Run)
  const ended = await start(6)
  await until('the first run has ended', async () => isTerminal((await read(ended.id)).status))
  const live = await start(WATCHED_SECONDS)
  await until('the second run is running', async () => (await read(live.id)).status === 'running')
  const link = { mode: 'view', expires_in_seconds: 86_400, max_viewers: 5 }
  await api.post(`/runs/${live.id}/live-links`, link, CreatedLiveLink)
  return { ended: ended.id, live: live.id }
}

async function shoot(origin: string, fleet: Fleet, runs: { live: string; ended: string }): Promise<void> {
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
  })
  const waiting = (await fleet.api.get('/runs?status=queued', pageOf(Run))).items
  const places: Readonly<Record<string, string>> = {
    overview: '/',
    environments: '/environments',
    pools: '/environments/runners',
    pool: `/environments/runners/${fleet.pools.berlin.id}`,
    runs: '/runs',
    'run-waiting': `/runs/${waiting.find(({ pool_id }) => pool_id === fleet.pools.berlin.id)?.id}`,
    'run-ended': `/runs/${runs.ended}`,
    'run-live': `/runs/${runs.live}`,
    'live-links': '/live-links',
    'api-keys': '/api-keys',
    members: '/members',
    audit: '/audit',
  }
  for (const [size, viewport] of Object.entries(SIZES)) {
    const page = await (await browser.newContext({ viewport })).newPage()
    await page.goto(origin)
    await page.getByLabel('API key').waitFor()
    await takeBoth(page, `sign-in-${size}`)
    await page.getByLabel('API key').fill(fleet.key)
    await page.getByRole('button', { name: 'Sign in', exact: true }).click()
    await page.getByRole('heading', { name: 'Overview' }).waitFor()
    for (const [name, place] of Object.entries(places)) {
      await page.goto(`${origin}${place}`)
      await settle(page)
      if (name === 'run-live') await watch(page)
      await takeBoth(page, `${name}-${size}`, name !== 'run-live')
    }
    await takeDialogs(page, `${origin}${places.pool}`, size)
  }
  await browser.close()
}

async function watch(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Watch' }).click()
  await page.locator('.live .badge.good').waitFor()
  await page.evaluate(`document.querySelector('#live').scrollIntoView()`)
  await sleep(1_500)
}

async function takeDialogs(page: Page, place: string, size: string): Promise<void> {
  await page.goto(place)
  await settle(page)
  await page.getByRole('button', { name: 'Create token' }).click()
  await takeBoth(page, `create-token-${size}`)
  await page.getByRole('dialog').getByRole('button', { name: 'Create token' }).click()
  await page.getByText('Waiting for the first heartbeat').waitFor()
  await takeBoth(page, `token-${size}`)
  await page.goto(new URL('/runs', place).href)
  await settle(page)
  await page.getByRole('button', { name: 'Start a run' }).click()
  await takeBoth(page, `start-run-${size}`)
}

async function settle(page: Page): Promise<void> {
  await page.getByRole('heading', { level: 1 }).waitFor()
  await page.locator('.loading').first().waitFor({ state: 'detached' })
  // The chart, pictures and the live view come after their places.
  await sleep(1_000)
}

/** @param isWhole with what is below the screen's edge */
async function takeBoth(page: Page, name: string, isWhole = false): Promise<void> {
  for (const colorScheme of SCHEMES) {
    await page.emulateMedia({ colorScheme })
    await sleep(300)
    await page.screenshot({ path: path.join(OUT, `${name}-${colorScheme}.png`), fullPage: isWhole })
  }
}

async function until<T>(what: string, look: () => Promise<T> | T): Promise<NonNullable<T>> {
  const end = Date.now() + WAIT_LIMIT_MS
  for (;;) {
    const seen = await look()
    if (seen !== undefined && seen !== null && seen !== false) return seen
    if (Date.now() > end) throw new Error(`not within ${WAIT_LIMIT_MS / 1000} s: ${what}`)
    await sleep(250)
  }
}
