import { fileURLToPath } from 'node:url'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import { z } from 'zod'
import { BOARD_BITS, BOARD_ROWS, type Board } from './board.ts'
import { CHROMIUM } from './live.ts'
import { until } from './until.ts'

/** Nothing is looked up or reported by the browser itself. */
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]
const NOTES = fileURLToPath(new URL('viewer-notes.mjs', import.meta.url))
const SHAPE = `globalThis.boardShape = ${JSON.stringify({ rows: BOARD_ROWS, bits: BOARD_BITS })}`

export async function launchBrowser(): Promise<Browser> {
  if (CHROMIUM === undefined) throw new Error('no Chromium is installed')
  return await chromium.launch({ executablePath: CHROMIUM, args: FLAGS })
}

/** What the page said of the stream, and since when, in epoch milliseconds. */
const Line = z.object({ at: z.number(), phase: z.string(), text: z.string() })
export type Line = z.infer<typeof Line>
/** What a frame showed, and when it had been drawn. */
const Drawn = z.object({ at: z.number(), board: z.record(z.enum(BOARD_ROWS), z.number()) })
export type Drawn = z.infer<typeof Drawn>

/** Somebody who watches a run in a browser and remembers every picture and every line they were shown. */
export class Viewer {
  readonly page: Page

  private constructor(page: Page) {
    this.page = page
  }

  static async open(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Viewer> {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options })
    const page = await context.newPage()
    const viewer = await Viewer.behind(page)
    await page.goto(url)
    return viewer
  }

  /** Remembers from the page's next document on. */
  static async behind(page: Page): Promise<Viewer> {
    await page.addInitScript(SHAPE)
    await page.addInitScript({ path: NOTES })
    return new Viewer(page)
  }

  async lines(): Promise<Line[]> {
    return z.array(Line).parse(await this.page.evaluate('notes.lines'))
  }

  /** Every frame that was drawn since a time. */
  async drawn(since = 0): Promise<Drawn[]> {
    return z.array(Drawn).parse(await this.page.evaluate(`notes.drawn.filter(({ at }) => at >= ${since})`))
  }

  /** Waits until a picture shows what is looked for. */
  async sees(what: string, look: (board: Board) => boolean): Promise<Board> {
    return await this.#until(`the viewer sees ${what}`, async () => {
      const board = z.array(Drawn).parse(await this.page.evaluate('notes.drawn.slice(-1)'))[0]?.board
      return board !== undefined && look(board) ? board : undefined
    })
  }

  /** Waits for a line like this that was said at or after a time. */
  async reads(text: RegExp, since = 0): Promise<Line> {
    const said = async () => (await this.lines()).find(line => line.at >= since && text.test(line.text))
    return await this.#until(`the page says ${text}`, said)
  }

  async #until<T>(what: string, look: () => Promise<T>): Promise<Exclude<T, undefined | null | false>> {
    return await until(what, look).catch(async error => {
      const [lines, drawn] = [await this.lines(), (await this.drawn()).slice(-3)]
      throw new Error(
        `${String(error)}; the page said ${JSON.stringify(lines)} and drew ${JSON.stringify(drawn)}`,
      )
    })
  }

  async close(): Promise<void> {
    await this.page.context().close()
  }
}
