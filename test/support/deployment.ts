import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { type ControlPlane, OPERATOR_KEY } from './control-plane.ts'
import type { FakeCloudflare } from './fake-cloudflare.ts'
import { newFolder } from './folders.ts'
import { ROOT, startProgram } from './process.ts'

/**
 * The address of what was deployed: a real control plane, once the fake account has its Worker, that takes as its
 * operator's key whatever was stored as the Worker's secret.
 */
export class DeployedAddress {
  /** Answers that come before the real ones, for what is still under way or goes wrong. */
  instead: ((request: IncomingMessage, response: ServerResponse) => boolean) | null = null
  readonly #server: Server

  private constructor(server: Server) {
    this.#server = server
  }

  static async of(cloudflare: FakeCloudflare, controlPlane: ControlPlane): Promise<DeployedAddress> {
    const server = createServer()
    const address = new DeployedAddress(server)
    server.on('request', (incoming, outgoing) => {
      const [worker] = cloudflare.workers.values()
      if (worker === undefined) return void outgoing.writeHead(404).end('There is nothing here yet')
      if (address.instead?.(incoming, outgoing)) return
      const isOperator = incoming.headers.authorization === `Bearer ${worker.secrets.get('OPERATOR_KEY')}`
      const headers = { ...incoming.headers, ...(isOperator && { authorization: `Bearer ${OPERATOR_KEY}` }) }
      const upstream = new URL(incoming.url ?? '/', controlPlane.url)
      request(upstream, { method: incoming.method, headers }, answer => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
        answer.pipe(outgoing)
      }).end()
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    return address
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>(resolve => this.#server.close(() => resolve()))
  }
}

export interface Deployed {
  readonly code: number | null
  readonly output: string
}

/** A machine that deploys: with a home of its own, where wrangler keeps its logs, and every argument recorded. */
export class Deployer {
  readonly home = newFolder('deployer')
  readonly #environment: Readonly<Record<string, string>>

  constructor(environment: Readonly<Record<string, string>>) {
    this.#environment = environment
    writeFileSync(path.join(this.home, 'deploy.env'), '')
  }

  async run(
    args: readonly string[],
    environment: Readonly<Record<string, string | undefined>> = {},
  ): Promise<Deployed> {
    // Never the file of whoever runs the tests.
    const settings = args.includes('--settings') ? [] : ['--settings', 'deploy.env']
    const program = startProgram('scripts/deploy/main.ts', [...settings, ...args], {
      HOME: this.home,
      XDG_CONFIG_HOME: path.join(this.home, '.config'),
      INIT_CWD: this.home,
      NODE_OPTIONS: `--require=${fileURLToPath(new URL('./argv-recorder.cjs', import.meta.url))}`,
      RECORDED_ARGUMENTS: this.recordedArguments,
      ...this.#environment,
      ...environment,
    })
    const { code } = await program.exited
    return { code, output: program.output() }
  }

  get recordedArguments(): string {
    return path.join(this.home, 'arguments')
  }

  /** Everything that was left behind: arguments, wrangler's logs, what was generated. */
  traces(): string {
    return [this.home, path.join(ROOT, 'dist', 'deploy'), path.join(ROOT, '.wrangler')].map(textIn).join('\n')
  }
}

function textIn(folder: string): string {
  if (!existsSync(folder)) return ''
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => readFileSync(path.join(entry.parentPath, entry.name), 'latin1'))
    .join('\n')
}
