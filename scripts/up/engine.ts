import { statSync } from 'node:fs'
import Docker from 'dockerode'

/** @returns the local Docker Engine, or why the sample run cannot use one */
export type EngineSearch =
  | { readonly docker: Docker; readonly socket: string }
  | { readonly docker: null; readonly why: string }

const DEFAULT_SOCKET = '/var/run/docker.sock'
const ANSWER_LIMIT_MS = 5_000

export async function findEngine(dockerHost: string | undefined): Promise<EngineSearch> {
  // Elsewhere the Engine lives in a virtual machine, and the session folder's sockets do not reach into it.
  if (process.platform !== 'linux')
    return { docker: null, why: `on ${process.platform} jobs run as processes` }
  const given = dockerHost === undefined || dockerHost === '' ? `unix://${DEFAULT_SOCKET}` : dockerHost
  if (!given.startsWith('unix://')) return { docker: null, why: 'DOCKER_HOST is not a local unix socket' }
  const socket = given.slice('unix://'.length)
  try {
    if (!statSync(socket).isSocket()) return { docker: null, why: `${socket} is not a socket` }
  } catch {
    return { docker: null, why: `there is no Docker Engine at ${socket}` }
  }
  const docker = new Docker({ socketPath: socket, timeout: ANSWER_LIMIT_MS })
  try {
    await docker.ping()
    return { docker: new Docker({ socketPath: socket }), socket }
  } catch (error) {
    return { docker: null, why: `the Docker Engine at ${socket} does not answer: ${messageOf(error)}` }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
