import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, statfsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { chromiumFlags } from './flags.ts'

/** One Chromium process with a profile of its own, from its start until it is gone. */

/** Said on standard error, whoever chose the port; the file in the profile is written only where Chromium chose it. */
const LISTENING = /^DevTools listening on ws:\/\/[^/]+:(\d+)(\/devtools\/browser\/[\w-]+)$/
/** On a host that is short of everything; usually it takes half a second. */
const START_LIMIT_MS = 60_000
/** Chromium ends well within this; what does not is killed. */
const STOP_LIMIT_MS = 3_000
const LAST_WORDS_LINES = 8
const LAST_WORDS_LIMIT_MS = 500
const WORDS_LIMIT_CHARS = 200
/** Process, time, level and place in Chromium's source. */
const LINE_HEAD = /^\[[^\]]*\]\s*/
/** Complaints about a desktop that is not there. */
const NOISE = /dbus|^\s*$/
/** With a sandbox that is refused half-way the process lives, listens, and never shows a page. */
const SANDBOX_REFUSED = /No usable sandbox|Zygote could not fork|without --no-sandbox is not supported/
/** It goes on without DevTools, so without any use. */
const PORT_REFUSED = /Cannot start http server for devtools/

export interface ChromiumOptions {
  readonly program: string
  /** A folder for everything it writes. */
  readonly home: string
  /** 0 lets Chromium choose. */
  readonly port: number
  readonly sandbox: boolean
}

export interface Exited {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** On loopback: the port, and the path of the browser's own websocket. */
export interface DevToolsAddress {
  readonly port: number
  readonly path: string
}

/** It could not be started, or ended before it could be used. */
export class ChromiumFailed extends Error {
  override readonly name = 'ChromiumFailed'
  readonly sandboxRefused: boolean

  constructor(message: string, sandboxRefused: boolean) {
    super(message)
    this.sandboxRefused = sandboxRefused
  }
}

export class Chromium {
  readonly #child: ChildProcess
  readonly #profileDir: string
  readonly #words: string[] = []
  readonly exited: Promise<Exited>
  readonly #listening = Promise.withResolvers<DevToolsAddress>()
  readonly #hopeless = Promise.withResolvers<never>()

  constructor({ program, home, port, sandbox }: ChromiumOptions) {
    this.#profileDir = mkdtempSync(join(home, 'profile-'))
    const flags = chromiumFlags({
      port,
      profileDir: this.#profileDir,
      sandbox,
      shmBytes: sharedMemoryBytes(),
    })
    const env = { ...process.env, HOME: home }
    this.#child = spawn(program, flags, { stdio: ['ignore', 'ignore', 'pipe'], env })
    if (this.#child.stderr !== null) {
      createInterface({ input: this.#child.stderr }).on('line', line => this.#hear(line.trim()))
    }
    this.exited = new Promise(resolve => {
      this.#child.on('error', error => {
        this.#words.push(error.message)
        resolve({ code: null, signal: null })
      })
      this.#child.on('exit', (code, signal) => {
        // Its last words may still be on their way; processes it leaves behind may keep the line open.
        this.#child.on('close', () => resolve({ code, signal }))
        setTimeout(() => resolve({ code, signal }), LAST_WORDS_LIMIT_MS)
      })
    })
    this.exited.then(() => this.#removeProfile())
    // Whoever started it may have gone on by then.
    this.#hopeless.promise.catch(() => undefined)
  }

  /** @throws ChromiumFailed when it ends, or does not listen in time */
  async listening(): Promise<DevToolsAddress> {
    const waiting = new AbortController()
    try {
      return await Promise.race([this.#listening.promise, this.failure(), this.#tooLate(waiting.signal)])
    } finally {
      waiting.abort()
    }
  }

  /** Rejects when it ends, or says that it will be of no use. */
  async failure(): Promise<never> {
    const ended = this.exited.then(exited => {
      throw this.#failed(endOf(exited))
    })
    return await Promise.race([ended, this.#hopeless.promise])
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGTERM')
    const kill = setTimeout(() => this.#child.kill('SIGKILL'), STOP_LIMIT_MS)
    await this.exited
    clearTimeout(kill)
  }

  async #tooLate(signal: AbortSignal): Promise<never> {
    await delay(START_LIMIT_MS, undefined, { signal })
    throw this.#failed(`it did not open its DevTools port within ${START_LIMIT_MS / 1000} s`)
  }

  #failed(what: string): ChromiumFailed {
    const words = this.#words.join(' | ')
    return new ChromiumFailed(words === '' ? what : `${what}: ${words}`, SANDBOX_REFUSED.test(words))
  }

  #hear(line: string): void {
    if (NOISE.test(line)) return
    const [, port, path] = LISTENING.exec(line) ?? []
    if (port !== undefined && path !== undefined) return this.#listening.resolve({ port: Number(port), path })
    const words = line.replace(LINE_HEAD, '').slice(0, WORDS_LIMIT_CHARS)
    this.#words.push(words)
    if (this.#words.length > LAST_WORDS_LINES) this.#words.shift()
    if (SANDBOX_REFUSED.test(words)) this.#hopeless.reject(new ChromiumFailed(firstSentence(words), true))
    if (PORT_REFUSED.test(words)) this.#hopeless.reject(new ChromiumFailed(words, false))
  }

  #removeProfile(): void {
    try {
      rmSync(this.#profileDir, { recursive: true, force: true, maxRetries: 3 })
    } catch {
      // One of its processes still writes there; its folder goes with the agent.
    }
  }
}

/** What follows is advice for people at a desktop. */
function firstSentence(words: string): string {
  return words.replace(/[.!] .*$/, '')
}

export function endOf({ code, signal }: Exited): string {
  if (signal !== null) return `it was ended by ${signal}`
  return code === null ? 'it could not be started' : `it ended with exit code ${code}`
}

/** @returns size of /dev/shm; 0 where there is none */
function sharedMemoryBytes(): number {
  try {
    const { bsize, blocks } = statfsSync('/dev/shm')
    return bsize * blocks
  } catch {
    return 0
  }
}
