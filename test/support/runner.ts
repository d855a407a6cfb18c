import { existsSync, readFileSync } from 'node:fs'
import type { ControlPlane, Tenant } from './control-plane.ts'
import { newFolder } from './folders.ts'
import { type Program, startProgram } from './process.ts'
import { until } from './until.ts'

export interface DaemonOptions {
  readonly name: string
  readonly slots?: number
  readonly stateDir?: string
  readonly env?: Readonly<Record<string, string>>
}

/** A runner daemon as a process. Starting it again goes on with its state folder. */
export class Daemon {
  readonly name: string
  readonly stateDir: string
  readonly #env: Readonly<Record<string, string>>
  #program: Program | undefined
  #log = ''

  private constructor(name: string, stateDir: string, env: Readonly<Record<string, string>>) {
    this.name = name
    this.stateDir = stateDir
    this.#env = env
  }

  /** With a fresh registration token of the tenant's pool. */
  static async of(controlPlane: ControlPlane, tenant: Tenant, options: DaemonOptions): Promise<Daemon> {
    return Daemon.with({
      ...options,
      env: {
        CONTROL_PLANE_URL: controlPlane.url,
        RUNNER_POOL_ID: tenant.poolId,
        REGISTRATION_TOKEN: await tenant.token(),
        RUNNER_NAME: options.name,
        MAX_CONCURRENCY: String(options.slots ?? 2),
        ...options.env,
      },
    })
  }

  /** With these settings and what makes tests quick. */
  static with({ name, stateDir = newFolder(name), env = {} }: Omit<DaemonOptions, 'slots'>): Daemon {
    return new Daemon(name, stateDir, {
      RUNNER_STOP_GRACE_SECONDS: '2',
      RUNNER_MIN_DISK_MB: '0',
      LOG_LEVEL: 'debug',
      ...env,
    })
  }

  /** A second process of the same runner, from a copy of its state. */
  copyTo(stateDir: string): Daemon {
    return new Daemon(this.name, stateDir, this.#env)
  }

  start(): this {
    const env = { ...this.#env, RUNNER_STATE_DIR: this.stateDir }
    this.#program = startProgram('runner/main.ts', [], env)
    return this
  }

  /** Starts it and waits until the pool lists it as online. */
  async online(tenant: Tenant): Promise<this> {
    this.start()
    await until(`${this.name} is online`, async () => {
      if (this.hasEnded()) throw new Error(`the runner ended:\n${this.log()}`)
      return (await tenant.runners()).some(runner => runner.name === this.name && runner.status === 'online')
    })
    return this
  }

  log(): string {
    return this.#log + (this.#program?.output() ?? '')
  }

  /** The most memory that this process has had at any time, in bytes. */
  peakMemoryBytes(): number {
    const status = readFileSync(`/proc/${this.#program?.pid}/status`, 'latin1')
    return Number(/^VmHWM:\s*(\d+) kB$/m.exec(status)?.[1]) * 1024
  }

  hasEnded(): boolean {
    const pid = this.#program?.pid
    if (pid === undefined) return true
    if (!existsSync(`/proc/${pid}`)) return true
    return /^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
  }

  signal(signal: NodeJS.Signals): void {
    this.#program?.kill(signal)
  }

  /** Ends this process and keeps what it wrote. */
  async end(signal: NodeJS.Signals): Promise<void> {
    const program = this.#program
    if (program === undefined) return
    await program.end(signal)
    this.#log += program.output()
    this.#program = undefined
  }
}
