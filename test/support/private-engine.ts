import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import Docker from 'dockerode'
import { until } from './until.ts'

/**
 * A Docker Engine of the test's own, so that it can be restarted without disturbing anyone: own data, own
 * socket, own network namespace. Its containers go on while it is away (live restore), as on a host that
 * upgrades its Engine.
 */
export class PrivateEngine {
  readonly #folder = mkdtempSync('/tmp/certyn-engine-')
  /** Keeps the network namespace while no Engine is in it. */
  readonly #holder = spawn('unshare', ['--net', 'sleep', 'infinity'], { stdio: 'ignore' })
  #process: ChildProcess | undefined

  /** @returns why no such Engine can be started here, or null */
  static missing(): string | null {
    if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'needs root on Linux'
    const found = spawnSync('sh', ['-c', 'command -v dockerd && command -v unshare && command -v nsenter'])
    return found.status === 0 ? null : 'needs dockerd, unshare and nsenter'
  }

  get socket(): string {
    return path.join(this.#folder, 'engine.sock')
  }

  get docker(): Docker {
    return new Docker({ socketPath: this.socket })
  }

  async start(): Promise<void> {
    const inside = (name: string) => path.join(this.#folder, name)
    const options = [
      ...['--data-root', inside('data'), '--exec-root', inside('exec'), '--pidfile', inside('pid')],
      ...['-H', `unix://${this.socket}`, '--bridge', 'none', '--live-restore'],
    ]
    const child = spawn('nsenter', [`--net=/proc/${this.#holder.pid}/ns/net`, 'dockerd', ...options], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    this.#process = child
    let log = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      log += text
    })
    let ended = false
    child.on('exit', () => {
      ended = true
    })
    await until('the private Engine answers', async () => {
      if (ended) throw new Error(`dockerd ended:\n${log.split('\n').slice(-15).join('\n')}`)
      return this.docker.ping().then(
        () => true,
        () => false,
      )
    })
  }

  /** Ends the Engine; its containers go on. */
  async stop(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process
    if (child === undefined) return
    const ended = new Promise(resolve => child.on('exit', resolve))
    child.kill(signal)
    await ended
    this.#process = undefined
  }

  async destroy(): Promise<void> {
    const containers = await this.docker.listContainers({ all: true }).catch(() => [])
    for (const { Id } of containers)
      await this.docker
        .getContainer(Id)
        .remove({ force: true })
        .catch(() => undefined)
    await this.stop('SIGTERM')
    this.#endContainerd()
    this.#holder.kill('SIGKILL')
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** A containerd that outlived a killed Engine is known by the pid file in this test's own folder. */
  #endContainerd(): void {
    try {
      process.kill(
        Number(readFileSync(path.join(this.#folder, 'exec', 'containerd', 'containerd.pid'), 'utf8')),
      )
    } catch {
      // It ended with its Engine.
    }
  }
}
