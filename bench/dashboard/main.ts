import { chromium, type Page } from 'playwright-core'
import { CHROMIUM } from '../../test/support/live.ts'
import { type Goal, median, quantile } from '../support/figures.ts'
import { type BigPool, bigPool, RUNNERS, RUNS } from './fleet.ts'

const OPENED = 7
const OPEN_GOAL_MS = 1_000
const FRAME_MS = 1000 / 60
/** The longest frame of a hundred may take two. */
const FRAME_GOAL_MS = 2 * FRAME_MS
const LARGEST_ANSWER_BYTES = 256 * 1024
const SCROLL_SECONDS = 4
const PAGE_ROWS = 50

/** How long pages of a large pool take to show their rows, what they ask for, and how they scroll. */
export async function benchDashboard(): Promise<Goal[]> {
  if (CHROMIUM === undefined) throw new Error('no Chromium is installed')
  console.log(`making ${RUNNERS} runners and ${RUNS} runs ...`)
  const big = await bigPool()
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
  })
  try {
    const page = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage()
    await page.goto(big.controlPlane.url)
    await page.getByLabel('API key').fill(big.tenant.api.headers.authorization?.slice('Bearer '.length) ?? '')
    await page.getByRole('button', { name: 'Sign in', exact: true }).click()
    await page.getByRole('heading', { name: 'Overview' }).waitFor()
    const answers: number[] = []
    page.on('response', response => {
      if (!response.url().includes('/api/v1/')) return
      void response.body().then(
        body => answers.push(body.length),
        () => undefined,
      )
    })
    const opened = [
      await openGoal(big, page, 'the list of runs', '/runs', 'Runs'),
      await openGoal(big, page, 'the page of the pool', poolPath(big), 'Runners of this pool'),
    ]
    return [...opened, await scrollGoal(page), largestGoal(answers)]
  } finally {
    await browser.close()
    await big.controlPlane.stop()
  }
}

function poolPath({ tenant }: BigPool): string {
  return `/environments/runners/${tenant.poolId}`
}

async function openGoal(big: BigPool, page: Page, what: string, path: string, table: string): Promise<Goal> {
  const times: number[] = []
  for (let at = 0; at < OPENED; at++) {
    await page.goto('about:blank')
    await page.goto(`${big.controlPlane.url}${path}`)
    times.push(Number(await page.evaluate(shownAt(table))))
  }
  const figure = median(times)
  return {
    goal: `${what} shows its rows`,
    measured: `median of ${OPENED}, in ms; slowest ${Math.max(...times).toFixed(0)}`,
    anchor: `${RUNNERS} runners, ${RUNS} runs`,
    figure,
    bound: `< ${OPEN_GOAL_MS}`,
    isMet: figure < OPEN_GOAL_MS,
  }
}

/** When the frame with the first page's rows was drawn, in ms since the page was asked for. */
function shownAt(table: string): string {
  return `new Promise(done => {
    const look = now => document.querySelectorAll('[aria-label="${table}"] tbody tr').length >= ${PAGE_ROWS} ? done(now) : requestAnimationFrame(look)
    requestAnimationFrame(look)
  })`
}

/** With four pages of the list loaded. */
async function scrollGoal(page: Page): Promise<Goal> {
  for (let more = 0; more < 3; more++) {
    await page.getByRole('button', { name: 'Show more' }).first().click()
    await page
      .getByRole('row')
      .nth(50 * (more + 2) - 1)
      .waitFor()
  }
  const frames = (await page.evaluate(`new Promise(done => {
    const times = [], end = performance.now() + ${SCROLL_SECONDS * 1000}
    let last = performance.now(), way = 40
    const step = now => {
      times.push(now - last)
      last = now
      if (scrollY + innerHeight >= document.body.scrollHeight - 1) way = -40
      if (scrollY === 0) way = 40
      scrollBy(0, way)
      now < end ? requestAnimationFrame(step) : done(times)
    }
    requestAnimationFrame(step)
  })`)) as number[]
  const figure = quantile(frames.slice(2), 0.95)
  return {
    goal: 'scrolling holds 60 frames a second',
    measured: `95 of 100 frames, in ms; median ${median(frames).toFixed(1)}`,
    anchor: `${RUNNERS} rows`,
    figure,
    bound: `< ${FRAME_GOAL_MS.toFixed(1)}`,
    isMet: figure < FRAME_GOAL_MS,
  }
}

function largestGoal(answers: readonly number[]): Goal {
  const figure = Math.max(...answers)
  return {
    goal: 'no answer is unbounded',
    measured: `largest of ${answers.length} answers, in bytes`,
    anchor: `${RUNNERS} runners, ${RUNS} runs`,
    figure,
    bound: `< ${LARGEST_ANSWER_BYTES}`,
    isMet: figure < LARGEST_ANSWER_BYTES,
  }
}
