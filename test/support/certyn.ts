import { type ChildProcess, spawn } from 'node:child_process'
import path from 'node:path'
import { cliBundle } from '../../scripts/build/cli-bundle.ts'
import { cleanEnvironment, ROOT } from './process.ts'

/** The command-line client as it is shipped, one process a command. */
export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface Started {
  readonly ended: Promise<Ended>
  stdout(): string
  stderr(): string
  signal(signal: NodeJS.Signals): void
}

export class Certyn {
  /** All that any command said on its error stream, and, but for what is shown once, elsewhere. */
  readonly said: string[] = []
  readonly #file: string
  readonly #env: Readonly<Record<string, string>>

  private constructor(file: string, env: Readonly<Record<string, string>>) {
    this.#file = file
    this.#env = env
  }

  static async built(): Promise<Certyn> {
    await cliBundle(ROOT)
    return new Certyn(path.join(ROOT, 'dist', 'cli', 'certyn.mjs'), {})
  }

  /** With other settings, and the same ears. */
  with(env: Readonly<Record<string, string>>): Certyn {
    const other = new Certyn(this.#file, { ...this.#env, ...env })
    other.said.push = (...texts) => this.said.push(...texts)
    return other
  }

  /** The words that start it, for a shell. */
  get command(): string {
    return `${process.execPath} ${this.#file}`
  }

  get environment(): Record<string, string> {
    return { ...cleanEnvironment(), ...this.#env }
  }

  start(...words: readonly string[]): Started {
    const child = spawn(process.execPath, [this.#file, ...words], {
      cwd: process.env.CERTYN_TEST_FOLDER,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: this.environment,
    })
    return this.#listen(child, words)
  }

  run(...words: readonly string[]): Promise<Ended> {
    return this.start(...words).ended
  }

  /** A command that has to succeed. @returns its document */
  async json(...words: readonly string[]): Promise<unknown> {
    const { code, stdout, stderr } = await this.run('--json', ...words)
    if (code !== 0) throw new Error(`certyn ${words.join(' ')} ended with ${code}: ${stderr}`)
    return JSON.parse(stdout)
  }

  #listen(child: ChildProcess, words: readonly string[]): Started {
    let stdout = ''
    let stderr = ''
    child.stdout?.setEncoding('utf8').on('data', text => {
      stdout += text
    })
    child.stderr?.setEncoding('utf8').on('data', text => {
      stderr += text
    })
    const ended = new Promise<Ended>((resolve, reject) => {
      child.on('error', reject)
      child.on('close', code => {
        const showsSecret = /^(?:--json )?(?:tokens|keys|live-links) create /.test(words.join(' '))
        this.said.push(stderr, ...(showsSecret ? [] : [stdout]))
        resolve({ code, stdout, stderr })
      })
    })
    return { ended, stdout: () => stdout, stderr: () => stderr, signal: signal => void child.kill(signal) }
  }
}
