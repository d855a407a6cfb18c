import type { Browser, BrowserContextOptions, Locator, Page } from 'playwright-core'

/** The page asks by itself every few seconds; a busy machine is given time. */
const CEILING_MS = 90_000

/** Somebody at the dashboard, in a browser that has nothing of anybody else. */
export class Visitor {
  readonly page: Page
  /** What went wrong in the page or broke its content security policy. Refused calls are not among it. */
  readonly complaints: string[] = []
  readonly #origin: string

  private constructor(page: Page, origin: string) {
    this.page = page
    this.#origin = origin
    page.setDefaultTimeout(CEILING_MS)
    page.on('pageerror', error => this.complaints.push(String(error)))
    page.on('console', message => {
      const isOfAnAnswer = message.text().startsWith('Failed to load resource')
      if (message.type() === 'error' && !isOfAnAnswer) this.complaints.push(message.text())
    })
    page.on('requestfailed', request => console.log(request.url(), request.failure()?.errorText))
    page.on('dialog', dialog => {
      this.complaints.push(`a dialog: ${dialog.message()}`)
      void dialog.dismiss()
    })
  }

  static async open(browser: Browser, origin: string, options: BrowserContextOptions = {}): Promise<Visitor> {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options })
    return new Visitor(await context.newPage(), origin)
  }

  /** With a key, from the page that everybody comes to first. */
  static async signedIn(
    browser: Browser,
    origin: string,
    key: string,
    options: BrowserContextOptions = {},
  ): Promise<Visitor> {
    const visitor = await Visitor.open(browser, origin, options)
    await visitor.go('/')
    await visitor.signIn(key)
    await visitor.page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor()
    return visitor
  }

  async go(path: string): Promise<void> {
    await this.page.goto(`${this.#origin}${path}`)
  }

  async signIn(key: string): Promise<void> {
    await this.page.getByLabel('API key').fill(key)
    await this.press('Sign in')
  }

  get dialog(): Locator {
    return this.page.getByRole('dialog')
  }

  /** A button by its whole name: in the dialog where one is open, or in the page. */
  async press(name: string): Promise<void> {
    const place = (await this.dialog.count()) > 0 ? this.dialog.last() : this.page
    await place.getByRole('button', { name, exact: true }).click()
  }

  /** Waits until the page says it. */
  async reads(text: string | RegExp): Promise<void> {
    await this.page.getByText(text).first().waitFor()
  }

  /** Waits until the page shows what it has asked for. */
  async settles(): Promise<void> {
    await this.page.getByRole('heading', { level: 1 }).waitFor()
    await this.page.locator('.loading').first().waitFor({ state: 'detached' })
  }

  /** A row of a table by a name in it. */
  row(name: string): Locator {
    return this.page.getByRole('row').filter({ has: this.page.getByRole('rowheader', { name }) })
  }

  /** Types the name of what is destroyed, as it is asked for. */
  async confirm(name: string, action: string): Promise<void> {
    await this.dialog.getByLabel(`Type ${name} to confirm`).fill(name)
    await this.press(action)
    await this.dialog.waitFor({ state: 'detached' })
  }

  /** For whoever has to find out why a test failed. */
  async report(): Promise<void> {
    console.log(
      this.page.url(),
      JSON.stringify(await this.page.locator('body').textContent()),
      this.complaints,
    )
  }

  async close(): Promise<void> {
    await this.page.context().close()
  }
}
