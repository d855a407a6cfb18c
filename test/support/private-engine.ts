import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import Docker from 'dockerode'
import { until } from './until.ts'

/**
 * A Docker Engine of the test's own, so that it can be restarted without disturbing anyone: own data, own
 * socket, own network namespace.
 */
export class PrivateEngine {
  readonly #folder = mkdtempSync('/tmp/certyn-engine-')
  /** Keeps the network namespace while no Engine is in it. */
  readonly #holder = spawn('unshare', ['--net', 'sleep', 'infinity'], { stdio: 'ignore' })
  readonly #liveRestore: boolean
  #process: ChildProcess | undefined

  /** @param liveRestore whether its containers go on while it is away; it is off unless an operator turns it on */
  constructor({ liveRestore }: { readonly liveRestore: boolean }) {
    this.#liveRestore = liveRestore
  }

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
      ...['-H', `unix://${this.socket}`, '--bridge', 'none'],
      ...(this.#liveRestore ? ['--live-restore'] : []),
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

  /** Ends the Engine, and without live restore its containers. */
  async stop(): Promise<void> {
    const child = this.#process
    if (child === undefined) return
    const ended = new Promise(resolve => child.on('exit', resolve))
    child.kill('SIGTERM')
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
    await this.stop()
    this.#holder.kill('SIGKILL')
    // The Engine's own mounts go when nothing is in its namespace any more.
    for (const mount of mountsUnder(this.#folder)) spawnSync('umount', ['-l', mount])
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 10 })
  }
}

/** Innermost first. */
function mountsUnder(folder: string): string[] {
  return readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map(line => line.split(' ')[1] ?? '')
    .filter(mount => mount.startsWith(`${folder}/`))
    .sort()
    .reverse()
}
