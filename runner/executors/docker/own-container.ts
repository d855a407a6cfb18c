import { existsSync, readFileSync } from 'node:fs'
import type Docker from 'dockerode'
import { SettingsError } from '../../settings-error.ts'
import { isNotFound, within } from './engine.ts'

/**
 * The Engine resolves a bind's source on its own host. A runner in a container finds out what its state directory is
 * called there by looking at itself.
 */

/** @returns this process's container id, or null outside a container */
export function ownContainerId(): string | null {
  if (!existsSync('/.dockerenv')) return null
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
  return /\/containers\/([0-9a-f]{64})\//.exec(mounts)?.[1] ?? null
}

interface Mount {
  readonly Destination: string
  readonly Source: string
}

/**
 * @returns the state directory's path on the Engine's host
 * @throws SettingsError when the directory is not a mount, and jobs could never see it
 */
export async function hostPathOf(
  docker: Docker,
  stateDirectory: string,
  containerId: string | null,
  signal?: AbortSignal,
): Promise<string> {
  if (containerId === null) return stateDirectory
  let mounts: readonly Mount[]
  try {
    mounts = (await within(docker, engine => engine.getContainer(containerId).inspect(), { signal })).Mounts
  } catch (error) {
    // In a container, but of another Engine: they share a file system, or the create fails with a clear message.
    if (isNotFound(error)) return stateDirectory
    throw error
  }
  const translated = translate(mounts, stateDirectory)
  if (translated !== null) return translated
  throw new SettingsError(
    `RUNNER_STATE_DIR: ${stateDirectory} is not mounted into this container; start it with -v ${stateDirectory}:${stateDirectory}`,
  )
}

/** The longest mount that covers the path wins, as in the kernel. */
export function translate(mounts: readonly Mount[], path: string): string | null {
  const covering = mounts
    .filter(
      ({ Destination }) => path === Destination || path.startsWith(`${Destination.replace(/\/$/, '')}/`),
    )
    .sort((a, b) => b.Destination.length - a.Destination.length)[0]
  return covering === undefined
    ? null
    : covering.Source + path.slice(covering.Destination.replace(/\/$/, '').length)
}
