import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { parseJson } from '../protocol/json.ts'
import type { Job } from '../protocol/runner-api.ts'
import { reasonOf } from './log.ts'
import { SettingsError } from './settings-error.ts'

/** What this host allows, whatever the control plane asks. Read once; nothing received can widen it. */

/** Any of these would take away the isolation that the network is there for. */
const FORBIDDEN_NETWORK = /^(?:host$|container:|ns:)/

/** What each says of itself is what docs/settings.md says of it. */
export const Policy = z.strictObject({
  allowed_images: z.array(z.string().min(1)).min(1).optional().meta({
    description: 'images that may run here',
    values: 'exact references, or prefixes followed by `*`',
    initial: 'any',
  }),
  require_digest: z.boolean().default(false).describe('only images that are named by digest run here'),
  max_memory_mb: z.number().int().min(32).optional().meta({
    description: 'refuses runs that ask for more memory; the others get no more either',
    values: '32 or more',
  }),
  max_cpus: z.number().positive().optional().meta({
    description: 'refuses runs that ask for more processors; the others get no more either',
    values: 'above 0',
  }),
  max_timeout_seconds: z.number().int().positive().optional().meta({
    description: 'refuses runs that may take longer',
    values: '1 or more',
  }),
  max_concurrency: z.number().int().positive().optional().meta({
    description: 'sessions at a time, whatever `MAX_CONCURRENCY` says',
    values: '1 or more',
  }),
  network: z
    .string()
    .min(1)
    .refine(name => !FORBIDDEN_NETWORK.test(name), 'must not be the host’s or another container’s network')
    .optional()
    .meta({
      description: 'the Engine’s network that jobs join, for example one with rules of its own',
      values: 'its name; never the host’s or another container’s',
      initial: '`certyn-jobs`',
    }),
  runtime: z.string().min(1).optional().meta({
    description: 'the Engine’s runtime for jobs, for example `runsc` for gVisor',
    values: 'its name',
    initial: 'the Engine’s own',
  }),
  allow_control_input: z.boolean().default(false).meta({
    description: 'lets whoever has a link in control mode send mouse and keyboard to pages of runs here',
    initial: '`false`, and `true` without a policy file',
  }),
  allow_userns_seccomp: z
    .boolean()
    .default(false)
    .describe(
      'gives images with the label `certyn.seccomp=userns` the calls that Chromium’s own sandbox needs',
    ),
})
export type Policy = Readonly<z.infer<typeof Policy>>

/** @throws SettingsError naming the file and the field */
export function readPolicy(file: string | null): Policy {
  if (file === null) return Policy.parse({ allow_control_input: true })
  const expected = `RUNNER_POLICY_FILE: ${file}`
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new SettingsError(`${expected}: cannot be read: ${reasonOf(error)}`)
  }
  const json = parseJson(text)
  if (!json.ok) throw new SettingsError(`${expected}: expected a JSON object, ${json.message}`)
  const policy = Policy.safeParse(json.value)
  if (!policy.success) {
    const issues = policy.error.issues.map(issue => `${issue.path.join('.') || '(root)'}: ${issue.message}`)
    throw new SettingsError(`${expected}: ${issues.join('; ')}`)
  }
  return Object.freeze(policy.data)
}

/** @returns why the job may not run here, or null. Limits are refused, not cut: a job is told what it gets. */
export function refusalOf(policy: Policy, job: Job): string | null {
  const { resources } = job
  if (policy.allowed_images !== undefined && !policy.allowed_images.some(one => matches(one, job.image))) {
    return `the image ${job.image} is not in this runner's allowed_images`
  }
  if (policy.require_digest && !job.image.includes('@')) {
    return `this runner takes images by digest only (require_digest), got ${job.image}`
  }
  if (exceeds(resources.memory_mb, policy.max_memory_mb)) {
    return `memory_mb ${resources.memory_mb} is above this runner's max_memory_mb ${policy.max_memory_mb}`
  }
  if (exceeds(resources.cpus, policy.max_cpus)) {
    return `cpus ${resources.cpus} is above this runner's max_cpus ${policy.max_cpus}`
  }
  if (exceeds(job.timeout_seconds, policy.max_timeout_seconds)) {
    return `timeout_seconds ${job.timeout_seconds} is above this runner's max_timeout_seconds ${policy.max_timeout_seconds}`
  }
  return null
}

function matches(pattern: string, image: string): boolean {
  return pattern.endsWith('*') ? image.startsWith(pattern.slice(0, -1)) : image === pattern
}

function exceeds(asked: number | undefined, limit: number | undefined): boolean {
  return asked !== undefined && limit !== undefined && asked > limit
}
