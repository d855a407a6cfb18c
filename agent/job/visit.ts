import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import type { CdpConnection, CdpSender } from '../browser/cdp.ts'
import { EXIT } from '../exit-code.ts'
import { reasonOf, type Say } from '../say.ts'
import { PageLoad } from './page-load.ts'

/** What a run without a command does: one look at one page. */

/** From the tab's opening to the screenshot. */
const LOOK_LIMIT_MS = 60_000
const FIRST_FAILING_STATUS = 400
const SCREENSHOT = 'screenshot.png'

export interface VisitParts {
  readonly cdp: Pick<CdpConnection, 'send' | 'listen' | 'closed'>
  /** Of http or https. */
  readonly url: string
  /** Null where nobody collects files. */
  readonly artifactsDir: string | null
  readonly say: Say
  /** Only where a test cannot wait so long. */
  readonly limitMs?: number
}

interface Seen {
  readonly status: number
  readonly title: string
}

const Created = z.object({ targetId: z.string() })
const Attached = z.object({ sessionId: z.string() })
const Navigated = z.object({ errorText: z.string().optional() })
const Title = z.object({ result: z.object({ value: z.string() }) })
const Screenshot = z.object({ data: z.string() })

/** @returns the exit code, 0 when the page was there; what came of it is said */
export async function visit(parts: VisitParts): Promise<number> {
  const { url, say } = parts
  try {
    const { status, title } = await look(parts)
    say(`${url} answered ${status}, its title is "${title}"`)
    return status < FIRST_FAILING_STATUS ? 0 : EXIT.pageFailed
  } catch (error) {
    say(`${url} could not be visited: ${reasonOf(error)}`)
    return EXIT.pageFailed
  }
}

/** However far it comes: a server may take the connection and never answer, a page may never be done. */
async function look(parts: VisitParts): Promise<Seen> {
  const waiting = new AbortController()
  try {
    const late = tooLate(parts.limitMs ?? LOOK_LIMIT_MS, waiting.signal)
    return await Promise.race([lookAt(parts), late, lost(parts.cdp)])
  } finally {
    waiting.abort()
  }
}

async function lookAt({ cdp, url, artifactsDir }: VisitParts): Promise<Seen> {
  const { targetId } = Created.parse(await cdp.send('Target.createTarget', { url: 'about:blank' }))
  const attached = await cdp.send('Target.attachToTarget', { targetId, flatten: true })
  const { sessionId } = Attached.parse(attached)
  const load = new PageLoad(targetId)
  const stopListening = cdp.listen(event => {
    if (event.sessionId !== sessionId) return
    load.handle(event)
    // Nobody is there to answer, and the page would wait.
    if (event.method === 'Page.javascriptDialogOpening') {
      cdp.send('Page.handleJavaScriptDialog', { accept: true }, sessionId).catch(() => undefined)
    }
  })
  try {
    await cdp.send('Page.enable', {}, sessionId)
    await cdp.send('Page.setLifecycleEventsEnabled', { enabled: true }, sessionId)
    await cdp.send('Network.enable', {}, sessionId)
    const { errorText } = Navigated.parse(await cdp.send('Page.navigate', { url }, sessionId))
    if (errorText !== undefined) throw new Error(errorText)
    const status = await load.status
    const title = await cdp.send('Runtime.evaluate', { expression: 'document.title' }, sessionId)
    if (artifactsDir !== null) await takeScreenshot(cdp, sessionId, artifactsDir)
    return { status, title: Title.parse(title).result.value }
  } finally {
    stopListening()
  }
}

async function takeScreenshot(cdp: CdpSender, sessionId: string, folder: string): Promise<void> {
  const { data } = Screenshot.parse(await cdp.send('Page.captureScreenshot', { format: 'png' }, sessionId))
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, SCREENSHOT), Buffer.from(data, 'base64'))
}

async function tooLate(limitMs: number, signal: AbortSignal): Promise<never> {
  await delay(limitMs, undefined, { signal })
  throw new Error(`it did not finish loading within ${limitMs / 1000} s`)
}

async function lost(cdp: Pick<CdpConnection, 'closed'>): Promise<never> {
  await cdp.closed
  throw new Error('the browser ended')
}
