import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import { reasonOf, type Say } from '../say.ts'
import { CdpConnection } from './cdp.ts'
import { Chromium, ChromiumFailed, type DevToolsAddress, endOf } from './chromium.ts'
import { VIEWPORT } from './flags.ts'

/** More than this and it is the pages, or the host, that Chromium cannot bear. */
const CRASH_LIMIT = 3
/** A browser that has started again takes a connection at once, or is busy for a moment. */
const CONNECT_PAUSE_MS = 250
const SAID_FAILURES = 3
/** A page that is not there by then never will be. */
const FIRST_PAGE_LIMIT_MS = 20_000

export interface BrowserParts {
  readonly program: string
  /** A folder for everything Chromium writes. */
  readonly home: string
  readonly say: Say
  /** There is a browser, the first one or one in its place; the command does not know of it yet. */
  readonly onConnected: (cdp: CdpConnection) => Promise<void>
}

/**
 * The browser beside the run's command: a Chromium that is there, on the same port, for as long as the run lasts.
 *
 * A command may close it, as Puppeteer's `browser.close()` does, and connect again for its next test: so one that was
 * closed is started again. So is one that crashed, a few times: what the command had open in it is lost, which the
 * command notices by itself, and its exit code stays the truth about the run.
 */
export class Browser {
  readonly #parts: BrowserParts
  #current: Chromium | null = null
  #keeping: Promise<void> = Promise.resolve()
  #port = 0
  #sandbox = true
  #isStopping = false

  constructor(parts: BrowserParts) {
    this.#parts = parts
  }

  /** @throws ChromiumFailed when there is no browser to be had */
  async start(): Promise<void> {
    const chromium = await this.#launch()
    this.#keeping = this.#keep(chromium)
  }

  /** Where DevTools answers; it stays the same. */
  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#current?.stop()
    await this.#keeping
  }

  async #keep(first: Chromium): Promise<void> {
    let chromium = first
    for (let crashes = 0; ; ) {
      const exited = await chromium.exited
      if (this.#isStopping) return
      const wasClosed = exited.code === 0
      if (!wasClosed) crashes += 1
      const what = wasClosed ? 'Chromium was closed' : `Chromium crashed, ${endOf(exited)}`
      if (crashes > CRASH_LIMIT)
        return this.#parts.say(`${what}; that was too often, it is not started again`)
      this.#parts.say(`${what}; starting it again, without its pages`)
      try {
        chromium = await this.#launch()
      } catch (error) {
        if (!this.#isStopping) this.#parts.say(`Chromium could not be started again: ${reasonOf(error)}`)
        return
      }
    }
  }

  async #launch(): Promise<Chromium> {
    if (!this.#sandbox) return await this.#launchOnce()
    try {
      return await this.#launchOnce()
    } catch (error) {
      if (!(error instanceof ChromiumFailed) || !error.sandboxRefused || this.#isStopping) throw error
      this.#sandbox = false
      this.#parts.say(`Chromium runs without its own sandbox: ${error.message}`)
      return await this.#launchOnce()
    }
  }

  async #launchOnce(): Promise<Chromium> {
    const { program, home } = this.#parts
    const chromium = new Chromium({ program, home, port: this.#port, sandbox: this.#sandbox })
    this.#current = chromium
    const waiting = new AbortController()
    try {
      const address = await chromium.listening()
      if (this.#port === 0) {
        await Promise.race([this.#connect(address), chromium.failure(), this.#tooLate(waiting.signal)])
        this.#port = address.port
      } else {
        // A command that waits for the next browser has it as soon as it listens, and may close it as soon.
        void this.#connectAgain(chromium, address)
      }
      return chromium
    } catch (error) {
      await chromium.stop()
      throw error
    } finally {
      waiting.abort()
    }
  }

  async #connect({ port, path }: DevToolsAddress): Promise<void> {
    const url = `ws://127.0.0.1:${port}${path}`
    const prepared = prepareFirstPage(url)
    // A command that knows the port may send the page elsewhere meanwhile: what it was asked is then never answered.
    if (this.#port === 0) await prepared
    else prepared.catch(() => undefined)
    const cdp = await CdpConnection.open(url)
    try {
      await this.#parts.onConnected(cdp)
    } catch (error) {
      cdp.close()
      throw error
    }
  }

  /** Until it is done or the browser has ended, which it may at once. */
  async #connectAgain(chromium: Chromium, address: DevToolsAddress): Promise<void> {
    const ended = new AbortController()
    chromium.exited.then(() => ended.abort())
    for (let failures = 1; !ended.signal.aborted; failures++) {
      try {
        return await this.#connect(address)
      } catch (error) {
        if (failures === SAID_FAILURES) {
          const reason = reasonOf(error)
          this.#parts.say(
            `no live view of the browser that was started again: ${reason}; trying again until there is`,
          )
        }
        await delay(CONNECT_PAUSE_MS, undefined, { signal: ended.signal }).catch(() => undefined)
      }
    }
  }

  async #tooLate(signal: AbortSignal): Promise<never> {
    await delay(FIRST_PAGE_LIMIT_MS, undefined, { signal })
    // A sandbox that is refused in a way nobody has met yet shows like this.
    const message = `its first page does not answer within ${FIRST_PAGE_LIMIT_MS / 1000} s`
    throw new ChromiumFailed(message, this.#sandbox)
  }
}

const Targets = z.object({ targetInfos: z.array(z.object({ targetId: z.string(), type: z.string() })) })
const AttachedTo = z.object({ sessionId: z.string() })
const WindowOf = z.object({ windowId: z.number() })

/** Waits until the page that Chromium starts with runs scripts, and gives it its size: the window's is another. */
async function prepareFirstPage(url: string): Promise<void> {
  // Of its own: to another listener the session below would be a page that opens and closes.
  const cdp = await CdpConnection.open(url)
  const { targetInfos } = Targets.parse(await cdp.send('Target.getTargets'))
  const targetId = targetInfos.find(({ type }) => type === 'page')?.targetId
  if (targetId === undefined) return cdp.close()
  const attached = await cdp.send('Target.attachToTarget', { targetId, flatten: true })
  const { sessionId } = AttachedTo.parse(attached)
  await cdp.send('Runtime.evaluate', { expression: '0' }, sessionId)
  const { windowId } = WindowOf.parse(await cdp.send('Browser.getWindowForTarget', { targetId }))
  // Older ones lack the call; their page is a little lower, as the first frame will say.
  await cdp.send('Browser.setContentsSize', { windowId, ...VIEWPORT }).catch(() => undefined)
  cdp.close()
}
