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

export function openEngine(socketPath: string): Docker {
  return new Docker({ socketPath, protocol: 'http' })
}

/** @throws whatever the connection throws; a socket that is missing or refused means that there is no Engine */
export async function readHostFacts(docker: Docker): Promise<HostFacts> {
  const info = Info.parse(await within(docker.info()))
  return {
    engineId: info.ID,
    engineVersion: info.ServerVersion,
    cpus: info.NCPU,
    memoryMb: Math.floor(info.MemTotal / 1024 / 1024),
    swapLimit: info.SwapLimit,
  }
}

/** For calls that are quick when the Engine is well: one that hangs must not hang the runner. */
export async function within<T>(call: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_, reject) => {
    const error = new Error(`the Docker Engine did not answer within ${ENGINE_TIMEOUT_MS} ms`)
    timer = setTimeout(() => reject(error), ENGINE_TIMEOUT_MS)
  })
  try {
    return await Promise.race([call, timeout])
  } finally {
    clearTimeout(timer)
  }
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
