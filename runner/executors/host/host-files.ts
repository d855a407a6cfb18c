import { join } from 'node:path'
import { z } from 'zod'
import { Exit } from '../../../protocol/runner-api.ts'
import { ProcessIdentity } from './process-identity.ts'

/** What the daemon and a session's shim tell each other through `<state>/host/<session id>/`. */

/** Holds the run's variables, so it is removed as soon as a claim is there. */
export const HostSpec = z.object({
  command: z.array(z.string()).min(1),
  env: z.record(z.string(), z.string()),
  cwd: z.string(),
  log_cap_mb: z.number().int().positive(),
})
export type HostSpec = z.infer<typeof HostSpec>

/** Written once, by whoever starts the command: its existence means that the session may have run. */
export const HostClaim = z.object({ kernel: z.string(), shim: ProcessIdentity })

export const HostProcess = z.object({
  kernel: z.string(),
  shim: ProcessIdentity,
  /** Leads the process group that signals are sent to. */
  command: ProcessIdentity.nullable(),
  started_at: z.string(),
  started_at_ms: z.number(),
})
export type HostProcess = z.infer<typeof HostProcess>

export const HostExit = z.object({ exit: Exit, started_at: z.string().nullable(), finished_at: z.string() })
export type HostExit = z.infer<typeof HostExit>

export function hostFiles(directory: string) {
  return {
    spec: join(directory, 'spec.json'),
    claim: join(directory, 'claim.json'),
    process: join(directory, 'process.json'),
    exit: join(directory, 'exit.json'),
    output: join(directory, 'output.log'),
    pipe: join(directory, 'output.pipe'),
  }
}
