import { execFileSync, spawnSync } from 'node:child_process'
import { closeSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { errorCode } from '../../../runner/state/files.ts'

const IS_ROOT = process.getuid?.() === 0
const IS_REQUIRED = process.env.CERTYN_REQUIRE_DOCKER === '1'

/** Put before a command it runs as its files' owner and no more: permissions hold, as they do not for root. */
export const AS_PLAIN_OWNER: readonly string[] = IS_ROOT
  ? ['setpriv', '--bounding-set=-all', '--inh-caps=-all']
  : []

/** Why permissions cannot be tested here, or null. With CERTYN_REQUIRE_DOCKER=1 that is a failure, not a skip. */
export function plainOwnerMissing(): string | null {
  const works = !IS_ROOT || spawnSync('setpriv', [...AS_PLAIN_OWNER.slice(1), 'true']).status === 0
  return orFail(works ? null : 'setpriv (package util-linux) does not work here')
}

/** Why no file system can be mounted here, or null. With CERTYN_REQUIRE_DOCKER=1 that is a failure, not a skip. */
export function mountMissing(): string | null {
  return orFail(IS_ROOT ? null : 'only root may mount a file system')
}

function orFail(missing: string | null): string | null {
  if (missing !== null && IS_REQUIRED) throw new Error(`CERTYN_REQUIRE_DOCKER is 1 and ${missing}`)
  return missing
}

/** A file system of its own in memory, at a directory that exists. */
export function mountMemory(path: string, options: string): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'certyn-test', path])
}

export function unmount(path: string): void {
  spawnSync('umount', ['-l', path])
}

/** @returns the file that now takes all the room there was; with it gone there is room again */
export function fill(path: string): string {
  const filler = join(path, 'filler')
  const file = openSync(filler, 'w')
  try {
    for (const bytes of [65_536, 4_096, 1]) {
      try {
        for (;;) if (writeSync(file, Buffer.alloc(bytes, 1)) < bytes) break
      } catch (error) {
        if (errorCode(error) !== 'ENOSPC') throw error
      }
    }
  } finally {
    closeSync(file)
  }
  return filler
}
