import { statfs } from 'node:fs/promises'
import { type Check, fail, ok } from '../examination.ts'
import type { Settings } from './settings.ts'
import type { StatePlace } from './state-directory.ts'

const MIB = 1024 * 1024

export const disk: Check<{ settings: Settings; state: StatePlace }, null> = {
  name: 'disk',
  async look({ settings: { config }, state }) {
    const { bavail, bsize } = await statfs(state.existing)
    const freeMb = Math.floor((bavail * bsize) / MIB)
    const remedy = `free space where ${state.path} lies, or set RUNNER_MIN_DISK_MB lower`
    if (freeMb < config.RUNNER_MIN_DISK_MB) {
      const limit = `under RUNNER_MIN_DISK_MB ${config.RUNNER_MIN_DISK_MB}`
      return fail(`${freeMb} MB free, ${limit}: no new work is taken`, remedy)
    }
    return ok(`${freeMb} MB free`)
  },
}
