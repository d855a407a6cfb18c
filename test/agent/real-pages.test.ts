import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { Browser } from '../../agent/browser/browser.ts'
import type { CdpConnection } from '../../agent/browser/cdp.ts'
import { Screencast } from '../../agent/live/screencast.ts'
import { CHROMIUM } from '../support/live.ts'
import { until } from '../support/until.ts'

/** What Chromium itself says of pages that are closed, crash and come back. */

const Created = z.object({ targetId: z.string() })
const Targets = z.object({ targetInfos: z.array(z.object({ targetId: z.string(), type: z.string() })) })
const Evaluated = z.object({ result: z.object({ value: z.boolean().optional() }) })
const COUNTS =
  'data:text/html,<body><script>let i=0;setInterval(()=>document.body.textContent=i++,50)</script>'
const BUSY = 'data:text/html,<body onmousemove="for(const end=Date.now()%2B1000;Date.now()<end;);">'

describe.skipIf(CHROMIUM === undefined)('a page of a real browser', () => {
  const home = mkdtempSync(join(tmpdir(), 'certyn-real-pages-'))
  let browser: Browser
  let cdp: CdpConnection
  let screencast: Screencast
  let blanks: (string | null)[]
  let pictures: number

  beforeAll(async () => {
    const onConnected = async (connection: CdpConnection) => {
      cdp = connection
    }
    browser = new Browser({ program: CHROMIUM ?? '', home, say: () => undefined, onConnected })
    await browser.start()
    screencast = new Screencast({
      cdp,
      wallMs: Date.now,
      onBlank: cause => blanks.push(cause),
      onPicture: picture => {
        pictures += 1
        picture.ack()
      },
    })
    cdp.listen(event => screencast.handle(event))
    screencast.watch(true)
    await screencast.begin()
  })
  afterAll(async () => {
    await browser?.stop()
    rmSync(home, { recursive: true, force: true })
  })
  beforeEach(async () => {
    blanks = []
    await open(COUNTS)
    await isShown()
  })

  /** In front of all others. */
  async function open(url: string): Promise<string> {
    const { targetId } = Created.parse(await cdp.send('Target.createTarget', { url }))
    await until('it is the active page', () => screencast.active?.targetId === targetId)
    return targetId
  }

  async function isShown(): Promise<void> {
    pictures = 0
    await until('there are pictures', () => pictures > 2)
  }

  test('that crashes is said to have, and is shown again when it is loaded again', async () => {
    const page = screencast.active?.sessionId
    blanks = []
    const crashed = cdp.send('Page.navigate', { url: 'chrome://crash' }, page).catch(() => undefined)
    await until('it is said', () => blanks.at(-1) === 'page_crashed')
    await crashed
    await cdp.send('Page.navigate', { url: COUNTS }, page)
    await isShown()
    expect(blanks).toEqual(['page_crashed', null])
  })

  test('that was the last one is missed, and the next one shown', async () => {
    const { targetInfos } = Targets.parse(await cdp.send('Target.getTargets'))
    for (const { type, targetId } of targetInfos) {
      if (type === 'page') await cdp.send('Target.closeTarget', { targetId })
    }
    await until('it is said', () => blanks.at(-1) === 'no_page')
    await open(COUNTS)
    await isShown()
    expect(blanks.at(-1)).toBeNull()
  })

  test('that is closed while it is busy leaves no input waited for', async () => {
    const targetId = await open(BUSY)
    const page = screencast.active?.sessionId
    await until('it is loaded', async () => {
      const expression = "document.body.onmousemove !== null && document.readyState === 'complete'"
      const { result } = Evaluated.parse(await cdp.send('Runtime.evaluate', { expression }, page))
      return result.value
    })
    const move = { type: 'mouseMoved', x: 10, y: 10 }
    const moves = Array.from({ length: 5 }, () => cdp.send('Input.dispatchMouseEvent', move, page))
    const settled = Promise.allSettled(moves)
    await cdp.send('Target.closeTarget', { targetId })
    expect(await settled).toHaveLength(moves.length)
  })
})
