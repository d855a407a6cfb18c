import { type Check, fail, ok } from '../examination.ts'
import type { JobContainer } from './job-container.ts'

const KIB_PER_MIB = 1024

/** Browsers crash on a /dev/shm that is too small. */
export const jobSharedMemory: Check<{ container: JobContainer }, null> = {
  name: 'job /dev/shm',
  look({ container: { inside, asked } }) {
    const askedMb = (asked.ShmSize ?? 0) / KIB_PER_MIB ** 2
    const size = /(?:^|,)size=(\d+)k/.exec(inside.mounts.get('/dev/shm') ?? '')?.[1]
    const remedy = 'the container runtime heeds no shm size: use runc, or another image that does without'
    if (size === undefined) return fail('the container has none', remedy)
    const sizeMb = Number(size) / KIB_PER_MIB
    return sizeMb === askedMb
      ? ok(`${sizeMb} MB, as asked`)
      : fail(`${sizeMb} MB instead of ${askedMb} MB`, remedy)
  },
}
