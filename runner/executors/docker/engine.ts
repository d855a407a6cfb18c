import { Agent } from 'node:http'
import { Readable } from 'node:stream'
import Docker from 'dockerode'
import { z } from 'zod'

/** The Engine's answers that this program relies on, each parsed; and its errors told apart. */

const Info = z.object({
  ID: z.string(),
  ServerVersion: z.string(),
  NCPU: z.number(),
  MemTotal: z.number(),
  SwapLimit: z.boolean().default(false),
  OSType: z.string().default('linux'),
  CgroupVersion: z.string().optional(),
  DockerRootDir: z.string().optional(),
})
export interface HostFacts {
  readonly engineId: string
  readonly engineVersion: string
  readonly cpus: number
  readonly memoryMb: number
  /** Without swap accounting the Engine refuses or ignores MemorySwap. */
  readonly swapLimit: boolean
}

const ENGINE_TIMEOUT_MS = 30_000

/**
 * Each call has a connection of its own: an Engine that is being stopped takes no new ones, and what it still says on
 * an old one, of the containers that it stops with itself, must not pass for news of an Engine that is well.
 */
export function openEngine(socketPath: string): Docker {
  // Its types do not know that the constructor takes an agent.
  const options: object = { socketPath, protocol: 'http', agent: new Agent({ keepAlive: false }) }
  return new Docker(options)
}

/** @throws whatever the connection throws; a socket that is missing or refused means that there is no Engine */
export async function readHostFacts(docker: Docker, signal?: AbortSignal): Promise<HostFacts> {
  const info = Info.parse(await within(docker, engine => engine.info(), { signal }))
  return {
    engineId: info.ID,
    engineVersion: info.ServerVersion,
    cpus: info.NCPU,
    memoryMb: Math.floor(info.MemTotal / 1024 / 1024),
    swapLimit: info.SwapLimit,
  }
}

export class EngineTimeout extends Error {}

interface Limits {
  readonly signal?: AbortSignal | undefined
  readonly timeoutMs?: number
}

/**
 * For calls that are quick when the Engine is well: one that hangs must not hang the runner. A call that is given up,
 * late or aborted, closes its connection.
 * @throws EngineTimeout when it is late; the signal's reason on abort
 */
export async function within<T>(
  docker: Docker,
  call: (engine: Docker) => Promise<T>,
  { signal, timeoutMs = ENGINE_TIMEOUT_MS }: Limits = {},
): Promise<T> {
  signal?.throwIfAborted()
  const given = new AbortController()
  const late = new EngineTimeout(`the Docker Engine did not answer within ${timeoutMs} ms`)
  const timer = setTimeout(() => given.abort(late), timeoutMs)
  const abort = () => given.abort(signal?.reason)
  signal?.addEventListener('abort', abort, { once: true })
  const givenUp = new Promise<never>((_, reject) => {
    given.signal.addEventListener('abort', () => reject(given.signal.reason), { once: true })
  })
  try {
    return await Promise.race([givenUp, call(abortable(docker, given.signal))])
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
  }
}

/** The client hands an abort signal on in some of its calls only; where they all pass, it reaches every one. */
function abortable(docker: Docker, abortSignal: AbortSignal): Docker {
  const modem = Object.create(docker.modem)
  const dial: typeof docker.modem.dial = (options, done) =>
    docker.modem.dial({ ...options, abortSignal }, done)
  // Its types do not know that the constructor takes a connection.
  const options: object = { modem: Object.assign(modem, { dial }) }
  return new Docker(options)
}

/**
 * Resolves when the container no longer runs. The Engine answers at once and says the rest hours later, so the reply
 * is read as a stream: the client's own call would wait for ever if the Engine went away in between.
 * @throws when the connection is lost before the end, and on abort
 */
export async function untilStopped(docker: Docker, name: string, signal: AbortSignal): Promise<void> {
  const stream = await new Promise<Readable>((resolve, reject) => {
    const options = {
      path: `/containers/${encodeURIComponent(name)}/wait?condition=not-running`,
      method: 'POST',
      isStream: true,
      abortSignal: signal,
      statusCodes: { 200: true, 404: 'no such container', 500: 'server error' },
    }
    docker.modem.dial(options, (error, reply) => {
      if (reply instanceof Readable) resolve(reply)
      else reject(error ?? new Error('the Docker Engine gave no answer to wait for'))
    })
  })
  for await (const _ of stream);
}

const EngineError = z.object({
  statusCode: z.number(),
  json: z.object({ message: z.string() }).optional().catch(undefined),
})

/** @returns the Engine's own refusal, or null when the Engine was not reached */
export function engineRefusal(error: unknown): { status: number; message: string } | null {
  const parsed = EngineError.safeParse(error)
  if (!parsed.success) return null
  const fallback = error instanceof Error ? error.message : 'no message'
  return { status: parsed.data.statusCode, message: parsed.data.json?.message ?? fallback }
}

export function isNotFound(error: unknown): boolean {
  return engineRefusal(error)?.status === 404
}
