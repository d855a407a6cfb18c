import { z } from 'zod'
import { within } from '../../executors/docker/engine.ts'
import { type Check, fail, ok, warn } from '../examination.ts'
import type { Engine } from './engine.ts'

/** What an older Engine leaves out is not held against it: the container itself is compared before each start. */
const Info = z.object({
  OSType: z.string().default('linux'),
  MemoryLimit: z.boolean().default(true),
  PidsLimit: z.boolean().default(true),
  CpuCfsQuota: z.boolean().default(true),
  CgroupVersion: z.string().default('1'),
  SecurityOptions: z.array(z.string()).nullish(),
})

/** Without one of these limits the Engine makes other containers than were asked for, and those are never started. */
export const engineLimits: Check<{ engine: Engine }, null> = {
  name: 'Engine limits',
  async look({ engine: { docker } }, signal) {
    const info = Info.parse(await within(docker, one => one.info(), { signal }))
    if (info.OSType !== 'linux') {
      return fail(`runs ${info.OSType} containers`, 'switch it to Linux containers, which jobs are')
    }
    const missing = [
      !info.MemoryLimit && 'memory',
      !info.PidsLimit && 'processes',
      !info.CpuCfsQuota && 'CPU',
    ].filter(Boolean)
    if (missing.length > 0) {
      return fail(
        `cannot limit ${missing.join(', ')}, so no job is started`,
        'turn the cgroup controllers on (kernel parameters cgroup_enable=memory swapaccount=1; rootless: delegate them to the user), restart, and see docker info',
      )
    }
    const cgroups = `memory, CPU and processes can be limited (cgroups v${info.CgroupVersion})`
    if (!(info.SecurityOptions ?? []).some(option => option.startsWith('name=seccomp'))) {
      return warn(`${cgroups}; it filters no system calls`, 'use an Engine and a kernel with seccomp')
    }
    return ok(cgroups)
  },
}
