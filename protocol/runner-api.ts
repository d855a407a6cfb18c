import * as z from 'zod'
import { CommandId, PoolId, RunId, RunnerId, SessionId } from './ids.ts'
import { SLOT_LIMIT, SYNC_ACK_LIMIT, SYNC_LEASE_LIMIT } from './limits.ts'
import { Resources } from './run.ts'
import { Labels, Name, Note, plainText, Timestamp } from './text.ts'
import { TraceParent } from './trace-context.ts'

/**
 * What a runner and the control plane say to each other. Unknown fields are dropped, not refused, so that neighbouring
 * versions understand one another. Nor is a sync refused for a word that only a newer runner knows, or for a detail
 * that no lease rests on: a refusal renews nothing, so it would end every session the runner holds.
 */
const Count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER)
const BootId = z.string().regex(/^[A-Za-z0-9_-]{8,64}$/, 'expected 8 to 64 characters of A-Z a-z 0-9 _ -')
const Version = plainText(64).min(1)

export const Platform = z.object({
  os: plainText(64),
  arch: plainText(64),
  cpus: z.number().positive().max(100_000),
  memory_mb: Count,
})
export type Platform = z.infer<typeof Platform>

export const Engine = z.object({ id: plainText(128), version: plainText(64) })
export type Engine = z.infer<typeof Engine>

export const RegisterRequest = z.object({
  protocol: z.number().int(),
  pool_id: PoolId,
  registration_token: z.string().max(256),
  name: Name,
  boot: Count,
  boot_id: BootId,
  max_concurrency: z.number().int().min(1).max(SLOT_LIMIT),
  labels: Labels.default({}),
  version: Version,
  platform: Platform,
  engine: Engine.optional(),
})
export type RegisterRequest = z.infer<typeof RegisterRequest>

export const RegisterResponse = z.object({
  runner_id: RunnerId,
  pool_id: PoolId,
  credential: z.string(),
  sync_interval_ms: z.number().int().positive(),
  server_time: Timestamp,
})
export type RegisterResponse = z.infer<typeof RegisterResponse>

/** In order: a session only ever moves to the right, and may skip. */
export const SESSION_STATES = ['accepted', 'pulling', 'starting', 'running', 'stopping', 'exited'] as const
export const SessionState = z.enum(SESSION_STATES)
export type SessionState = z.infer<typeof SessionState>

export const EXIT_REASONS = [
  'exited',
  'stopped',
  'timed_out',
  'oom',
  'command_not_found',
  'image_not_found',
  'image_auth',
  'pull_failed',
  'network_unreachable',
  'engine_error',
  'disk_full',
  'policy_denied',
] as const
export const ExitReason = z.enum(EXIT_REASONS)
export type ExitReason = z.infer<typeof ExitReason>

/** A report's message is for people; whatever a runner sends is cut, never refused, so that no exit is lost. */
const ReportText = z.string().transform(text => text.slice(0, 1000).toWellFormed())

/** What cannot be read is as good as not said. */
function detail<T extends z.ZodType>(schema: T) {
  const ifReadable = (value: unknown) => (schema.safeParse(value).success ? value : undefined)
  return z.preprocess(ifReadable, schema.optional()).optional()
}

const ExitCode = z.number().int().nullable()

export const Exit = z.object({ code: ExitCode, reason: ExitReason, message: ReportText.optional() })
export type Exit = z.infer<typeof Exit>

/** A reason that is not known here is nobody's test's fault; the message keeps the word for people. */
const ReportedExit = z
  .object({ code: ExitCode, reason: ExitReason.or(z.string()), message: detail(z.string()) })
  .transform(({ code, reason, message }): Exit => {
    const known = ExitReason.safeParse(reason)
    if (known.success) return Exit.parse({ code, reason: known.data, message })
    const said = message === undefined ? reason : `${reason}: ${message}`
    return Exit.parse({ code, reason: 'engine_error', message: said })
  })

/** A session in a state that is not known here is held: `accepted` renews it and moves nothing. */
const ReportedState = SessionState.or(z.string().transform(() => 'accepted' as const))

export const NOTICES = ['adopted', 'memory_pressure'] as const

const Notices = z.array(z.string()).transform(words => NOTICES.filter(known => words.includes(known)))

export const LeaseReport = z
  .object({
    session_id: SessionId,
    state: ReportedState,
    image_digest: detail(plainText(256)),
    started_at: detail(z.iso.datetime({ offset: true })),
    finished_at: detail(z.iso.datetime({ offset: true })),
    exit: ReportedExit.optional(),
    /** Things worth a run event that do not end the session. */
    notices: detail(Notices),
  })
  .refine(report => report.state !== 'exited' || report.exit !== undefined, {
    path: ['exit'],
    message: 'required when the state is exited',
  })
export type LeaseReport = z.infer<typeof LeaseReport>

export const Health = z.object({
  memory_free_mb: Count,
  disk_free_mb: Count,
  load1: z.number().min(0),
  /** True while free disk is under the runner's own RUNNER_MIN_DISK_MB: it must be given nothing new. */
  disk_low: z.boolean().optional(),
})
export type Health = z.infer<typeof Health>

export const SyncRequest = z.object({
  protocol: z.number().int(),
  boot: Count,
  boot_id: BootId,
  seq: Count,
  draining: z.boolean(),
  leaving: z.boolean().optional(),
  /** Only `complete` says anything of what is not listed. */
  inventory: z.enum(['complete', 'unknown']).or(z.string().transform(() => 'unknown' as const)),
  slots: z.object({ max: z.number().int().min(0).max(SLOT_LIMIT) }),
  leases: z
    .array(LeaseReport)
    .max(SYNC_LEASE_LIMIT)
    .refine(
      leases => new Set(leases.map(lease => lease.session_id)).size === leases.length,
      'a session is listed twice',
    ),
  acks: z.array(CommandId).max(SYNC_ACK_LIMIT),
  health: detail(Health),
  version: detail(Version),
  /** Release of the agent image that this runner was last asked to start; absent while that is not known. */
  agent_version: detail(Version),
  platform: detail(Platform),
  engine: detail(Engine),
  /** Settings change with a restart, and a registration outlives many. */
  labels: detail(Labels),
})
export type SyncRequest = z.infer<typeof SyncRequest>

export const Job = z.object({
  image: z.string(),
  command: z.array(z.string()).nullable(),
  env: z.record(z.string(), z.string()),
  timeout_seconds: z.number().int().positive(),
  resources: Resources,
  stream: z.boolean(),
})
export type Job = z.infer<typeof Job>

export const Offer = z.object({
  session_id: SessionId,
  run_id: RunId,
  attempt: z.number().int().positive(),
  offer_ttl_ms: z.number().int().min(0),
  job: Job,
  /** Of the call that created the run, where it was traced. */
  traceparent: detail(TraceParent),
})
export type Offer = z.infer<typeof Offer>

export const COMMAND_TYPES = ['stop_session', 'open_stream', 'close_stream'] as const
export type CommandType = (typeof COMMAND_TYPES)[number]

export const STOP_REASONS = ['cancelled', 'timeout'] as const
export type StopReason = (typeof STOP_REASONS)[number]

export const Command = z.object({
  id: CommandId,
  type: z.enum(COMMAND_TYPES),
  session_id: SessionId,
  reason: z.string().optional(),
})
export type Command = z.infer<typeof Command>

export const VERDICTS = ['keep', 'stop', 'forget'] as const
export type Verdict = (typeof VERDICTS)[number]

export const SyncResponse = z.object({
  server_time: Timestamp,
  stale: z.boolean(),
  next_sync_in_ms: z.number().int().positive(),
  lease_ttl_ms: z.number().int().positive(),
  runner: z.object({ state: z.enum(['active', 'draining']), note: Note.nullable() }),
  offers: z.array(Offer),
  commands: z.array(Command),
  leases: z.array(z.object({ session_id: SessionId, verdict: z.enum(VERDICTS) })),
})
export type SyncResponse = z.infer<typeof SyncResponse>

export const CredentialResponse = z.object({ credential: z.string() })

export const DOORBELL = {
  ring: 'ring',
  ping: 'ping',
  pong: 'pong',
  /** The runner's rhythm of `ping`. */
  pingIntervalMs: 20_000,
  /** No `pong` by then: the runner syncs at once and dials again. */
  pongTimeoutMs: 5_000,
  /** Close code for a socket that a newer one of the same runner replaces. */
  closeReplaced: 4409,
  /** Close code when the runner's credential is no longer good. */
  closeUnauthenticated: 4401,
} as const
