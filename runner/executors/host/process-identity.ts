import { readFileSync } from 'node:fs'
import { z } from 'zod'

/** A pid alone may come to mean another process; with its start time it does not, within one boot of the kernel. */
export const ProcessIdentity = z.object({ pid: z.number().int().positive(), start: z.string() })
export type ProcessIdentity = z.infer<typeof ProcessIdentity>

/** Start time is field 22 of /proc/<pid>/stat, counted after the name, which may hold anything. */
export function identify(pid: number): ProcessIdentity | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const [state] = fields
    const start = fields[19]
    return state === 'Z' || start === undefined ? null : { pid, start }
  } catch {
    return null
  }
}

export function isAlive(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.start === identity.start
}
