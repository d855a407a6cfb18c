import { mkdir, rm, rmdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { reasonOf } from '../../log.ts'
import { isMissing, writeFileAtomic } from '../../state/files.ts'
import { storageRemedy } from '../../state/storage-remedy.ts'
import { type Check, type Finding, fail, ok } from '../examination.ts'
import type { Settings } from './settings.ts'

export interface StatePlace {
  readonly path: string
  /** Of the directory itself or, until there is one, of the directory above it. */
  readonly existing: string
}

/** Written to for once, because permissions alone say nothing of a full disk or one that is mounted read-only. */
export const stateDirectory: Check<{ settings: Settings }, StatePlace> = {
  name: 'state directory',
  async look({ settings }) {
    const path = settings.config.RUNNER_STATE_DIR
    try {
      return (await exists(path)) ? await tryWriting(path) : await tryMaking(path)
    } catch (error) {
      return fail(`RUNNER_STATE_DIR: ${path} cannot be written (${reasonOf(error)})`, storageRemedy(error))
    }
  },
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
}

async function tryWriting(path: string): Promise<Finding<StatePlace>> {
  const probe = join(path, 'doctor.json')
  try {
    await writeFileAtomic(probe, '{}', true)
  } finally {
    await rm(probe, { force: true })
  }
  return ok(`${path} can be written`, { path, existing: path })
}

/** One after the other, and taken away again: this host is left as it was. */
async function tryMaking(path: string): Promise<Finding<StatePlace>> {
  const missing: string[] = []
  let existing = path
  for (; !(await exists(existing)); existing = dirname(existing)) missing.unshift(existing)
  const made: string[] = []
  try {
    for (const directory of missing) {
      await mkdir(directory, { mode: 0o700 })
      made.unshift(directory)
    }
  } finally {
    for (const directory of made) await rmdir(directory)
  }
  return ok(`${path} does not exist yet and can be made`, { path, existing })
}
