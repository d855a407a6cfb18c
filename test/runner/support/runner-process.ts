import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type FakeControlPlane, POOL } from './fake-control-plane.ts'

const MAIN = join(import.meta.dirname, '../../../runner/main.ts')
/** Ends the daemon with the process that started it, however that ends. */
const FOLLOW_PARENT = new URL('../../../scripts/launch/follow-parent.mjs', import.meta.url).href
/** Long enough for a loaded machine; no test depends on how much of it is used. */
const PATIENCE_MS = 40_000

export type LogLine = Readonly<Record<string, unknown>> & { readonly msg?: string }

export function temporaryDirectory(): string {
  return mkdtempSync(join(tmpdir(), 'certyn-runner-test-'))
}

/** The runner as its users start it: a process with environment variables. */
export class RunnerProcess {
  readonly log: LogLine[] = []
  stderr = ''
  readonly #child: ChildProcess
  readonly #ended: Promise<number | null>

  /** @param wrapper a program, with its arguments, that becomes this one */
  constructor(
    env: Readonly<Record<string, string>>,
    args: readonly string[] = [],
    wrapper: readonly string[] = [],
  ) {
    const [program = '', ...words] = [...wrapper, process.execPath, '--import', FOLLOW_PARENT, MAIN, ...args]
    this.#child = spawn(program, words, {
      env: { PATH: process.env.PATH ?? '', ...env, CERTYN_LIFELINE_FD: '3' },
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    })
    let rest = ''
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      rest += chunk.toString('utf8')
      const lines = rest.split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) this.log.push(parseLine(line))
    })
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.stderr += chunk.toString('utf8')
    })
    this.#ended = new Promise(resolve => this.#child.on('close', code => resolve(code)))
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  ended(): Promise<number | null> {
    return this.#ended
  }

  async destroy(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#ended
  }

  logged(text: string): LogLine | undefined {
    return this.log.find(line => JSON.stringify(line).includes(text))
  }
}

function parseLine(line: string): LogLine {
  try {
    return JSON.parse(line)
  } catch {
    return { msg: line }
  }
}

export function settingsFor(plane: FakeControlPlane, stateDirectory: string, executor: 'docker' | 'host') {
  return {
    CONTROL_PLANE_URL: plane.url,
    RUNNER_POOL_ID: POOL,
    REGISTRATION_TOKEN: plane.token,
    RUNNER_NAME: `test-${stateDirectory.slice(-6)}`,
    RUNNER_STATE_DIR: stateDirectory,
    RUNNER_EXECUTOR: executor,
    RUNNER_MIN_DISK_MB: '0',
    RUNNER_STOP_GRACE_SECONDS: '2',
  }
}

/** Waits for a fact, not for a time. */
export async function until(what: string, condition: () => unknown): Promise<void> {
  const began = Date.now()
  for (;;) {
    if (await condition()) return
    if (Date.now() - began > PATIENCE_MS) throw new Error(`never came to be: ${what}`)
    await sleep(20)
  }
}

export function removeDirectory(path: string): void {
  rmSync(path, { recursive: true, force: true })
}
