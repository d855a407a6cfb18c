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
