import { statSync } from 'node:fs'
import type Docker from 'dockerode'
import { ZodError } from 'zod'
import {
  EngineTimeout,
  engineRefusal,
  type HostFacts,
  openEngine,
  readHostFacts,
} from '../../executors/docker/engine.ts'
import { reasonOf } from '../../log.ts'
import { errorCode } from '../../state/files.ts'
import { type Check, type Finding, fail, ok } from '../examination.ts'
import type { Settings } from '../host/settings.ts'

export interface Engine {
  readonly docker: Docker
  readonly facts: HostFacts
}

const MOUNT = '-v /var/run/docker.sock:/var/run/docker.sock'

export const engine: Check<{ settings: Settings }, Engine> = {
  name: 'Docker Engine',
  async look({ settings: { config } }, signal) {
    const docker = openEngine(config.DOCKER_HOST)
    try {
      const facts = await readHostFacts(docker, signal)
      const swap = facts.swapLimit ? '' : '; it cannot limit swap, so jobs may use it'
      const seen = `version ${facts.engineVersion}, ${facts.cpus} CPUs, ${facts.memoryMb} MB${swap}`
      return ok(seen, { docker, facts })
    } catch (error) {
      signal.throwIfAborted()
      return explain(error, config.DOCKER_HOST)
    }
  },
}

function explain(error: unknown, socket: string): Finding<never> {
  const code = errorCode(error)
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    const remedy = `start Docker and mount its socket (${MOUNT}), or set DOCKER_HOST to where it is`
    return fail(`there is no socket at ${socket}`, remedy)
  }
  if (statSync(socket, { throwIfNoEntry: false })?.isSocket() === false) {
    const remedy = `remove it, start Docker, then this container: Docker makes a directory where a mount (${MOUNT}) has no source`
    return fail(`${socket} is no socket`, remedy)
  }
  if (code === 'EACCES' || code === 'EPERM') return forbidden(socket)
  if (code === 'ECONNREFUSED') {
    return fail(`nothing listens at ${socket}`, 'start Docker (systemctl start docker), then this container')
  }
  if (error instanceof EngineTimeout) {
    return fail(error.message, 'see what it is busy with (journalctl -u docker), or restart it')
  }
  const refusal = engineRefusal(error)
  if (refusal !== null) {
    const remedy =
      'see its log (journalctl -u docker); a proxy in front of the socket has to allow every call'
    return fail(`refuses (${refusal.status}): ${refusal.message}`, remedy)
  }
  const why = error instanceof ZodError ? 'its answer has another form' : reasonOf(error)
  return fail(`what answers at ${socket} is no Docker Engine: ${why}`, 'check DOCKER_HOST')
}

function forbidden(socket: string): Finding<never> {
  const { gid } = statSync(socket, { throwIfNoEntry: false }) ?? { gid: 'GID' }
  const uid = process.getuid?.() ?? 0
  return fail(
    `this user (uid ${uid}) may not open ${socket}`,
    `add it to the socket's group: docker run --group-add ${gid}, or usermod -aG docker on the host`,
  )
}
