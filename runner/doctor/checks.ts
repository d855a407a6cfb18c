import { lookup } from 'node:dns/promises'
import { access, constants, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { EnvHttpProxyAgent, request } from 'undici'
import { WebSocket } from 'ws'
import { address } from '../api/client.ts'
import type { Config } from '../config.ts'
import { agentFor } from '../daemon/doorbell-loop.ts'
import { openEngine, readHostFacts } from '../executors/docker/engine.ts'
import { isMissing } from '../state/files.ts'

export interface Check {
  readonly name: string
  readonly remedy: string
  /** @returns what was found; throws what is wrong */
  readonly look: () => Promise<string>
}

const TIMEOUT_MS = 10_000
/** Lease times are counted on each side's own clock, but logs and tokens compare wall clocks. */
const CLOCK_SKEW_LIMIT_MS = 30_000
const SHM_MIN_MB = 64
const MIB = 1024 * 1024

/** What a runner on this host needs, from the name of the control plane to the space on its disk. */
export function checks(config: Config): Check[] {
  const network: Check[] = [
    {
      name: 'proxy',
      remedy: 'set HTTPS_PROXY to http://host:port; hosts that must be reached directly go into NO_PROXY',
      look: async () => (config.HTTPS_PROXY === null ? 'none set' : withoutCredentials(config.HTTPS_PROXY)),
    },
    {
      name: 'DNS',
      remedy: 'check the name in CONTROL_PLANE_URL and this host’s resolver',
      look: () => resolveName(config),
    },
    {
      name: 'HTTPS',
      remedy:
        'allow outbound HTTPS to the control plane, or set HTTPS_PROXY; for a private CA set NODE_EXTRA_CA_CERTS to its PEM file',
      look: async () => `${(await askHealth(config)).status} from /healthz`,
    },
    {
      name: 'clock',
      remedy: 'let this host’s clock be set by NTP (timedatectl set-ntp true)',
      look: () => compareClocks(config),
    },
    {
      name: 'websocket',
      remedy:
        'let the proxy or firewall pass websocket upgrades; without them work is picked up at the sync interval only, and there is no live view',
      look: () => upgrade(config),
    },
  ]
  const host: Check[] = [
    {
      name: 'state directory',
      remedy: 'mount a directory that this user may write at RUNNER_STATE_DIR',
      look: () => writableState(config),
    },
    {
      name: 'disk',
      remedy: 'free space, or set RUNNER_MIN_DISK_MB lower',
      look: () => freeDisk(config),
    },
  ]
  const engine: Check[] = [
    {
      name: 'Docker Engine',
      remedy: 'start Docker and mount its socket (-v /var/run/docker.sock:/var/run/docker.sock)',
      look: async () => {
        const facts = await readHostFacts(openEngine(config.DOCKER_HOST))
        const swap = facts.swapLimit ? '' : '; it cannot limit swap, so jobs may use it'
        return `version ${facts.engineVersion}, ${facts.cpus} CPUs, ${facts.memoryMb} MB${swap}`
      },
    },
    {
      name: 'shared memory',
      remedy: 'give the host’s /dev/shm more room; browsers need it',
      look: freeShm,
    },
  ]
  return [...network, ...host, ...(config.RUNNER_EXECUTOR === 'docker' ? engine : [])]
}

/** Host and port only: what is printed here is pasted into tickets. */
function withoutCredentials(proxy: string): string {
  const { protocol, hostname, port } = new URL(proxy)
  return `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`
}

async function resolveName({ CONTROL_PLANE_URL, HTTPS_PROXY }: Config): Promise<string> {
  // Behind a proxy the proxy resolves the control plane's name, and this host need not.
  const target = HTTPS_PROXY === null ? CONTROL_PLANE_URL : new URL(HTTPS_PROXY)
  const name = target.hostname.replace(/^\[|\]$/g, '')
  const { address: found } = await lookup(name)
  return `${name} is ${found}`
}

async function askHealth(config: Config): Promise<{ status: number; date: string | null }> {
  const dispatcher = new EnvHttpProxyAgent({
    httpProxy: '',
    httpsProxy: config.HTTPS_PROXY ?? '',
    noProxy: config.NO_PROXY ?? '',
  })
  try {
    const url = address(config.CONTROL_PLANE_URL, '/healthz')
    const reply = await request(url, { dispatcher, signal: AbortSignal.timeout(TIMEOUT_MS) })
    await reply.body.dump()
    if (reply.statusCode !== 200) throw new Error(`/healthz answered ${reply.statusCode}`)
    const { date } = reply.headers
    return { status: reply.statusCode, date: typeof date === 'string' ? date : null }
  } finally {
    await dispatcher.destroy()
  }
}

async function compareClocks(config: Config): Promise<string> {
  const { date } = await askHealth(config)
  if (date === null) return 'the control plane sends no Date'
  const skewMs = Math.abs(Date.now() - Date.parse(date))
  if (skewMs > CLOCK_SKEW_LIMIT_MS) throw new Error(`this clock is ${Math.round(skewMs / 1000)} s off`)
  return `within ${Math.ceil(skewMs / 1000)} s`
}

/** Any answer of the control plane's own, a refusal too, shows that an upgrade gets through. */
function upgrade(config: Config): Promise<string> {
  const path = `/runner/v1/pools/${config.RUNNER_POOL_ID}/runners/rnr_00000000000000000000000000/doorbell`
  const url = address(config.CONTROL_PLANE_URL, path)
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, { agent: agentFor(url, config), handshakeTimeout: TIMEOUT_MS })
    socket.on('open', () => {
      socket.terminate()
      resolve('the upgrade gets through')
    })
    socket.on('unexpected-response', (_request, reply) => {
      socket.terminate()
      const type = reply.headers['content-type'] ?? ''
      if (type.includes('problem+json')) resolve('the upgrade reaches the control plane')
      else reject(new Error(`answered ${reply.statusCode} by something that is not the control plane`))
    })
    socket.on('error', reject)
  })
}

async function writableState({ RUNNER_STATE_DIR }: Config): Promise<string> {
  try {
    await access(RUNNER_STATE_DIR, constants.R_OK | constants.W_OK | constants.X_OK)
    return RUNNER_STATE_DIR
  } catch (error) {
    if (!isMissing(error)) throw error
    await access(dirname(RUNNER_STATE_DIR), constants.W_OK | constants.X_OK)
    return `${RUNNER_STATE_DIR} does not exist yet and can be made`
  }
}

async function freeDisk({ RUNNER_STATE_DIR, RUNNER_MIN_DISK_MB }: Config): Promise<string> {
  const stat = await statfs(RUNNER_STATE_DIR).catch(() => statfs(dirname(RUNNER_STATE_DIR)))
  const freeMb = Math.floor((stat.bavail * stat.bsize) / MIB)
  if (freeMb < RUNNER_MIN_DISK_MB) {
    throw new Error(
      `${freeMb} MB free, under RUNNER_MIN_DISK_MB ${RUNNER_MIN_DISK_MB}: no new work would be taken`,
    )
  }
  return `${freeMb} MB free`
}

async function freeShm(): Promise<string> {
  const stat = await statfs('/dev/shm')
  const totalMb = Math.floor((stat.blocks * stat.bsize) / MIB)
  if (totalMb < SHM_MIN_MB) throw new Error(`/dev/shm has ${totalMb} MB`)
  return `${totalMb} MB here; each job gets its own`
}
