import { statfs } from 'node:fs/promises'
import { type Check, fail, ok } from '../examination.ts'

/** Chromium's tabs crash with less. */
const SHM_MIN_MB = 64
const MIB = 1024 * 1024

/** Of this host, which jobs share with the host executor only: a container gets its own. */
export const sharedMemory: Check<object, null> = {
  name: 'shared memory',
  async look() {
    const { blocks, bsize } = await statfs('/dev/shm')
    const totalMb = Math.floor((blocks * bsize) / MIB)
    if (totalMb < SHM_MIN_MB) {
      const remedy = `give it room: mount -o remount,size=512m /dev/shm, or docker run --shm-size 512m`
      return fail(`/dev/shm has ${totalMb} MB, and browsers need ${SHM_MIN_MB} MB at least`, remedy)
    }
    return ok(`/dev/shm has ${totalMb} MB`)
  },
}
