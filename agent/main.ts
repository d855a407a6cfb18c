import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Browser } from './browser/browser.ts'
import type { CdpConnection } from './browser/cdp.ts'
import { trustCertificates } from './browser/trust.ts'
import { EXIT, exitCodeOf } from './exit-code.ts'
import { Command } from './job/command.ts'
import { visit } from './job/visit.ts'
import { LiveView } from './live/live-view.ts'
import { reasonOf, say } from './say.ts'
import { parseSettings, type Settings } from './settings.ts'

/**
 * The agent: a browser, the run's command beside it, and the live view of it for whoever connects to the stream
 * socket. The command's exit code is the agent's.
 */

const FORWARDED = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

async function main(): Promise<number> {
  const parsed = parseSettings(process.env, process.argv.slice(2))
  if (!parsed.ok) {
    say(parsed.message)
    return EXIT.nothingToDo
  }
  const { settings } = parsed
  const signals = new Signals()
  const home = await mkdtemp(join(tmpdir(), 'certyn-browser-'))
  const live = new LiveView(say)
  let cdp: CdpConnection | null = null
  const browser = new Browser({
    program: settings.chromium,
    home,
    say,
    onConnected: async connection => {
      cdp = connection
      await live.follow(connection)
    },
  })
  try {
    await live.listen(settings.streamSocket)
    await trust(home, settings)
    const failure = await Promise.race([started(browser), signals.first])
    if (failure !== null || cdp === null) return failure ?? EXIT.agentFailed
    return await run(settings, browser.url, cdp, signals)
  } finally {
    live.close()
    await browser.stop()
    await rm(home, { recursive: true, force: true, maxRetries: 3 }).catch(() => undefined)
  }
}

/** Signals to the agent are meant for what it runs. */
class Signals {
  readonly #first = Promise.withResolvers<number>()
  #command: Command | null = null

  constructor() {
    for (const name of FORWARDED) {
      process.on(name, () => {
        this.#command?.signal(name)
        this.#first.resolve(exitCodeOf(null, name))
      })
    }
  }

  /** The exit code of a process that the first signal ended. */
  get first(): Promise<number> {
    return this.#first.promise
  }

  passTo(command: Command): void {
    this.#command = command
  }
}

async function trust(home: string, { extraCertificates }: Settings): Promise<void> {
  if (extraCertificates === null) return
  await trustCertificates(home, extraCertificates).catch(error =>
    say(`the browser does not trust the certificates of NODE_EXTRA_CA_CERTS: ${reasonOf(error)}`),
  )
}

/** @returns null when the browser is there, else the exit code */
async function started(browser: Browser): Promise<number | null> {
  try {
    await browser.start()
    return null
  } catch (error) {
    say(`Chromium could not be started: ${reasonOf(error)}`)
    return EXIT.agentFailed
  }
}

function run(
  { task, artifactsDir }: Settings,
  url: string,
  cdp: CdpConnection,
  signals: Signals,
): Promise<number> {
  if (task.type === 'visit') {
    return Promise.race([visit({ cdp, url: task.url, artifactsDir, say }), signals.first])
  }
  const command = new Command({ argv: task.argv, env: { ...process.env, CERTYN_CDP_URL: url }, say })
  signals.passTo(command)
  return command.exitCode
}

// Whatever goes wrong beside the command, the command goes on and its exit code is the run's.
process.on('uncaughtException', error => say(`unexpected: ${error.stack ?? error.message}`))

process.exit(
  await main().catch(error => {
    say(reasonOf(error))
    return EXIT.agentFailed
  }),
)
