import * as z from 'zod'
import { EnvironmentId, PoolId, RunId, RunnerId, SessionId } from './ids.ts'
import { ImageReference } from './image-reference.ts'
import { COMMAND_LIMIT_ITEMS, ENV_LIMIT_BYTES } from './limits.ts'
import { Labels, Timestamp } from './text.ts'

/** `queued → offered → starting → running → stopping? → one terminal state`; terminal states never change. */
export const RUN_STATUSES = [
  'queued',
  'offered',
  'starting',
  'running',
  'stopping',
  'succeeded',
  'failed',
  'timed_out',
  'cancelled',
  'lost',
] as const
export const RunStatus = z.enum(RUN_STATUSES)
export type RunStatus = z.infer<typeof RunStatus>

export const TERMINAL_STATUSES = ['succeeded', 'failed', 'timed_out', 'cancelled', 'lost'] as const
export type TerminalStatus = (typeof TERMINAL_STATUSES)[number]

export function isTerminal(status: RunStatus): status is TerminalStatus {
  return (TERMINAL_STATUSES as readonly RunStatus[]).includes(status)
}

/** Whether another attempt may follow: never, anywhere (another runner first), or on other runners only. */
export type RetryRule = 'never' | 'any_runner' | 'other_runner'

/** Every way a run can fail: whose fault it is and whether another attempt may help. */
export const FAILURES = {
  non_zero_exit: { domain: 'test', retry: 'never' },
  command_not_found: { domain: 'test', retry: 'never' },
  oom: { domain: 'test', retry: 'never' },
  timeout: { domain: 'test', retry: 'never' },
  image_not_found: { domain: 'agent_image', retry: 'never' },
  image_auth: { domain: 'agent_image', retry: 'never' },
  pull_failed: { domain: 'agent_image', retry: 'any_runner' },
  network_unreachable: { domain: 'network', retry: 'any_runner' },
  engine_error: { domain: 'runner', retry: 'any_runner' },
  disk_full: { domain: 'runner', retry: 'any_runner' },
  runner_lost_session: { domain: 'runner', retry: 'any_runner' },
  lease_expired: { domain: 'runner', retry: 'any_runner' },
  runner_removed: { domain: 'runner', retry: 'any_runner' },
  policy_denied: { domain: 'runner', retry: 'other_runner' },
  queue_timeout: { domain: 'runner', retry: 'never' },
  internal: { domain: 'control_plane', retry: 'any_runner' },
} as const satisfies Record<string, { domain: string; retry: RetryRule }>

export type FailureCode = keyof typeof FAILURES
export const FAILURE_CODES = Object.keys(FAILURES) as [FailureCode, ...FailureCode[]]
export const FAILURE_DOMAINS = ['test', 'agent_image', 'network', 'runner', 'control_plane'] as const

export const Failure = z.object({
  domain: z.enum(FAILURE_DOMAINS),
  code: z.enum(FAILURE_CODES),
  message: z.string(),
})
export type Failure = z.infer<typeof Failure>

export const Resources = z.object({
  memory_mb: z.number().int().min(32).max(1_048_576).optional(),
  cpus: z.number().positive().max(1024).optional(),
  shm_mb: z.number().int().min(1).max(1_048_576).optional(),
})
export type Resources = z.infer<typeof Resources>

const Argument = z
  .string()
  .max(65_536)
  .refine(text => !text.includes('\0'), 'must not hold NUL')
export const CommandLine = z
  .array(Argument)
  .min(1)
  .max(COMMAND_LIMIT_ITEMS)
  .refine(command => command[0] !== '', 'the program must not be empty')

export const EnvironmentVariables = z
  .record(
    z.string().regex(/^[^=\0]+$/, 'must not be empty or hold "=" or NUL'),
    z.string().refine(text => !text.includes('\0'), 'must not hold NUL'),
  )
  .refine(
    env => new TextEncoder().encode(JSON.stringify(env)).length <= ENV_LIMIT_BYTES,
    `larger than ${ENV_LIMIT_BYTES} bytes`,
  )

const Metadata = z
  .record(z.string().min(1).max(128), z.string().max(4096))
  .refine(metadata => Object.keys(metadata).length <= 64, 'at most 64 entries')

/** Body of `POST /environments/{id}/runs`. */
export const CreateRun = z.strictObject({
  image: ImageReference.optional(),
  command: CommandLine.optional(),
  env: EnvironmentVariables.default({}),
  timeout_seconds: z.number().int().min(1).max(86_400).default(3600),
  queue_timeout_seconds: z.number().int().min(60).max(604_800).default(86_400),
  priority: z.number().int().min(-100).max(100).default(0),
  labels: Labels.default({}),
  resources: Resources.extend({
    gpu: z.unknown().optional().describe('Any truthy value is refused with 422 gpu_unsupported'),
  })
    .strict()
    .default({}),
  stream: z.boolean().default(true),
  max_attempts: z.number().int().min(1).max(5).default(2),
  metadata: Metadata.default({}),
})
export type CreateRun = z.infer<typeof CreateRun>

const AskingForGpu = z.object({ resources: z.object({ gpu: z.unknown() }) })

/** Whether a body, however wrong the rest of it is, asks for a GPU: the caller is told that before its typos. */
export function asksForGpu(body: unknown): boolean {
  const asking = AskingForGpu.safeParse(body)
  return asking.success && Boolean(asking.data.resources.gpu)
}

export const STREAM_STATES = ['off', 'connecting', 'live', 'ended'] as const

export const Run = z.object({
  id: RunId,
  environment_id: EnvironmentId,
  pool_id: PoolId,
  status: RunStatus,
  attempt: z.number().int().min(0),
  session_id: SessionId.nullable(),
  runner_id: RunnerId.nullable(),
  image: z.string(),
  image_digest: z.string().nullable(),
  command: z.array(z.string()).nullable(),
  priority: z.number().int(),
  labels: z.record(z.string(), z.string()),
  timeout_seconds: z.number().int(),
  queue_timeout_seconds: z.number().int(),
  max_attempts: z.number().int(),
  resources: Resources,
  queued_at: Timestamp,
  started_at: Timestamp.nullable(),
  finished_at: Timestamp.nullable(),
  exit_code: z.number().int().nullable(),
  failure: Failure.nullable(),
  stream: z.object({
    transport: z.literal('relay'),
    state: z.enum(STREAM_STATES),
    viewers: z.number().int(),
  }),
  metadata: z.record(z.string(), z.string()),
})
export type Run = z.infer<typeof Run>

export const RUN_EVENT_TYPES = [
  ...RUN_STATUSES,
  'offer_lapsed',
  'lease_expired',
  'adopted',
  'memory_pressure',
  'stream_opened',
  'stream_closed',
  'log_truncated',
] as const
export type RunEventType = (typeof RUN_EVENT_TYPES)[number]

export const RunEvent = z.object({
  at: Timestamp,
  type: z.enum(RUN_EVENT_TYPES),
  session_id: SessionId.optional(),
  runner_id: RunnerId.optional(),
  detail: z.string(),
})
export type RunEvent = z.infer<typeof RunEvent>

export const WAITING_FOR = ['runner', 'slot', 'label', 'resume', 'memory'] as const
export type WaitingFor = (typeof WAITING_FOR)[number]

/** `label:<key>` names the label a runner lacks; the rest are fixed words. */
export const PLACEMENT_REASONS = [
  'offline',
  'draining',
  'pool_draining',
  'no_slot',
  'memory',
  'disk',
  'policy',
  'already_tried',
  'protocol',
] as const
export type PlacementReason = (typeof PLACEMENT_REASONS)[number] | `label:${string}`

export const Placement = z.object({
  waiting_for: z.enum(WAITING_FOR).nullable(),
  candidates: z.array(
    z.object({
      runner_id: RunnerId,
      name: z.string(),
      eligible: z.boolean(),
      reasons: z.array(z.union([z.enum(PLACEMENT_REASONS), z.templateLiteral(['label:', z.string()])])),
    }),
  ),
})
export type Placement = z.infer<typeof Placement>
