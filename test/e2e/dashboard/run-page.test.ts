import type { Browser, Route } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { CreatedApiKey } from '../../../protocol/admin-api.ts'
import type { Run } from '../../../protocol/run.ts'
import { ControlPlane, type Tenant } from '../../support/control-plane.ts'
import { node } from '../../support/jobs.ts'
import { CHROMIUM } from '../../support/live.ts'
import { Daemon } from '../../support/runner.ts'
import { launchBrowser } from '../../support/viewer.ts'
import { Visitor } from '../../support/visitor.ts'

/** The page of a run, before somebody who stays on it for as long as the run goes on. */

const LINES = 200
/** Numbered lines, some of them while somebody reads, some at the very end. */
const COUNT = `let line = 0
  const say = () => {
    console.log('line ' + ++line + ' ' + '·'.repeat(40))
    if (line < ${LINES / 2}) setTimeout(say, 40)
    else if (line < ${LINES}) say()
  }
  say()`

describe.skipIf(CHROMIUM === undefined)('the page of a run', () => {
  const controlPlane = new ControlPlane()
  let browser: Browser
  let tenant: Tenant
  let key: string
  let admin: Visitor
  let daemon: Daemon

  beforeAll(async () => {
    browser = await launchBrowser()
    await controlPlane.start()
    tenant = await controlPlane.tenant()
    daemon = await Daemon.of(controlPlane, tenant, { name: 'host', env: { RUNNER_EXECUTOR: 'host' } })
    await daemon.online(tenant)
    key = (await tenant.api.post('/api-keys', { name: 'visitor', role: 'admin' }, CreatedApiKey)).secret
    admin = await Visitor.signedIn(browser, controlPlane.url, key)
  })
  beforeEach(({ onTestFailed }) => onTestFailed(() => admin.report()))
  afterAll(async () => {
    await browser?.close()
    await daemon?.end('SIGTERM')
    await controlPlane.stop()
  })

  function start(command: readonly string[]): Promise<Run> {
    return tenant.run({ image: 'certyn/host', command })
  }

  /** So much of the real answer, and the end of it. */
  async function cutAfter(bytes: number, route: Route): Promise<void> {
    const request = route.request()
    const place = (await request.allHeaders())['last-event-id']
    const headers = { authorization: `Bearer ${key}`, ...(place !== undefined && { 'last-event-id': place }) }
    const answer = await fetch(request.url(), { headers })
    let body = Buffer.alloc(0)
    for await (const piece of answer.body ?? []) {
      body = Buffer.concat([body, piece])
      if (body.length >= bytes) break
    }
    await route.fulfill({ contentType: 'text/event-stream', body: body.subarray(0, bytes) })
  }

  test('shows every line of the log once, whatever comes in between, and says when none comes', async () => {
    const turns: ((route: Route) => Promise<void>)[] = [
      route => cutAfter(1_000, route),
      route => route.fulfill({ status: 204 }),
      route => cutAfter(1_500, route),
      route => route.fulfill({ status: 502, contentType: 'text/html', body: '<h1>Bad gateway</h1>' }),
      route => route.abort(),
      route => cutAfter(777, route),
    ]
    const places: (string | undefined)[] = []
    await admin.page.route('**/logs?follow=1', async route => {
      places.push((await route.request().allHeaders())['last-event-id'])
      await (turns.shift() ?? (() => route.continue()))(route)
    })
    const { id } = await start(node(COUNT))
    await admin.go(`/runs/${id}`)
    await admin.reads('The log does not come in at the moment.')
    await admin.reads(`line ${LINES} `)
    const shown = await admin.page.evaluate(
      `[...document.querySelectorAll('.log p')].map(line => line.lastChild?.textContent ?? '').filter(line => line !== '')`,
    )
    expect(shown).toEqual(Array.from({ length: LINES }, (_, at) => `line ${at + 1} ${'·'.repeat(40)}`))
    await admin.page.getByText('The log does not come in').waitFor({ state: 'detached' })
    // Only the first answer was one from the beginning, and after the end nothing is asked.
    await tenant.ends(id)
    await admin.page.waitForTimeout(3_000)
    expect(places.length).toBe(7)
    expect(places.slice(1).filter(place => place === undefined)).toEqual([])
    await admin.page.unroute('**/logs?follow=1')
  })
})
