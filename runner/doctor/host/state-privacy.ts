import { type Stats, statSync } from 'node:fs'
import { join } from 'node:path'
import { isMissing } from '../../state/files.ts'
import { type Check, fail, ok, warn } from '../examination.ts'
import type { StatePlace } from './state-directory.ts'

const OTHERS = 0o077

/** The credential lies there: nobody but the runner may read it. */
export const statePrivacy: Check<{ state: StatePlace }, null> = {
  name: 'state privacy',
  look({ state: { path } }) {
    const directory = statOf(path)
    if (directory === null) return ok('the runner makes the directory with mode 0700')
    const uid = process.getuid?.() ?? 0
    if (uid !== 0 && directory.uid !== uid) {
      const seen = `${path} is owned by uid ${directory.uid}, and this is uid ${uid}, which may not shut it`
      return fail(seen, `chown ${uid} ${path}`)
    }
    const credential = statOf(join(path, 'credential.json'))
    if (credential !== null && (credential.mode & OTHERS) !== 0) {
      const remedy = `chmod 600 ${path}/credential.json; if somebody may have read it, remove the runner and register it again`
      return warn(`others may read the credential: mode ${octal(credential)}`, remedy)
    }
    const isOpen = (directory.mode & OTHERS) !== 0
    const later = isOpen ? '; the runner sets 0700 when it starts' : ''
    return ok(`mode ${octal(directory)}, owned by uid ${directory.uid}${later}`)
  },
}

function statOf(path: string): Stats | null {
  try {
    return statSync(path)
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
}

function octal({ mode }: Stats): string {
  return (mode & 0o7777).toString(8).padStart(4, '0')
}
