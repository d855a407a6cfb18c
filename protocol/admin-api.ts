import * as z from 'zod'
import {
  ApiKeyId,
  AuditEventId,
  EnvironmentId,
  MemberId,
  PoolId,
  RegistrationTokenId,
  RunId,
  RunnerId,
  SessionId,
  TenantId,
} from './ids.ts'
import { ImageReference } from './image-reference.ts'
import { Engine, Platform } from './runner-api.ts'
import { Name, Note, plainText, Timestamp } from './text.ts'

/** What an admin, a CI job or the dashboard says. Unknown fields are refused: a typo must not be a default. */

export const ROLES = ['viewer', 'member', 'admin'] as const
export const Role = z.enum(ROLES)
export type Role = z.infer<typeof Role>

export const Slug = z
  .string()
  .regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, 'expected 1 to 63 of a-z 0-9 and inner hyphens')

export const CreateTenant = z.strictObject({ slug: Slug, name: Name })
export const Tenant = z.object({ id: TenantId, slug: Slug, name: z.string(), created_at: Timestamp })
export type Tenant = z.infer<typeof Tenant>

export const CreateApiKey = z.strictObject({
  name: Name,
  role: Role,
  expires_in_seconds: z.number().int().min(60).max(315_360_000).optional(),
})
export const ApiKey = z.object({
  id: ApiKeyId,
  name: z.string(),
  role: Role,
  hint: z.string(),
  created_at: Timestamp,
  expires_at: Timestamp.nullable(),
  last_used_at: Timestamp.nullable(),
  revoked_at: Timestamp.nullable(),
})
export type ApiKey = z.infer<typeof ApiKey>
/** The only answer that ever holds the key itself. */
export const CreatedApiKey = z.object({
  id: ApiKeyId,
  name: z.string(),
  role: Role,
  secret: z.string(),
  expires_at: Timestamp.nullable(),
})
export const CreatedTenant = z.object({ tenant: Tenant, api_key: CreatedApiKey })

/** Somebody who signs in through Cloudflare Access, by the e-mail address it vouches for. */
export const Email = z.string().toLowerCase().pipe(z.email()).pipe(z.string().max(254))
export const Member = z.object({ id: MemberId, email: z.string(), role: Role, created_at: Timestamp })
export type Member = z.infer<typeof Member>
export const PutMember = z.strictObject({ email: Email, role: Role })
export const DeleteMember = z.strictObject({ email: Email })

/** Who calls: a key, or a member, whose name is the e-mail address. */
export const Actor = ApiKey.extend({ id: z.union([ApiKeyId, MemberId]) })
export type Actor = z.infer<typeof Actor>

export const Me = z.object({
  tenant: Tenant,
  key: Actor,
  features: z.object({ self_hosted_runners: z.boolean(), self_hosted_relay: z.boolean() }),
})

export type Me = z.infer<typeof Me>

/**
 * Without a key: as whom Cloudflare Access vouches for; `tenant` where that address is a member of several.
 */
export const SignIn = z.strictObject({
  api_key: z.string().max(1024).optional(),
  tenant: Slug.optional(),
})
export const BrowserSession = Me.extend({
  expires_at: Timestamp,
  /** So long the log and the artifacts of a run are kept after they were brought. */
  artifact_retention_days: z.number().int(),
})
export type BrowserSession = z.infer<typeof BrowserSession>

export const PoolState = z.enum(['active', 'draining'])
export type PoolState = z.infer<typeof PoolState>

export const PoolStats = z.object({
  runners_online: z.number().int(),
  runners_total: z.number().int(),
  slots_total: z.number().int(),
  slots_busy: z.number().int(),
  queued: z.number().int(),
  oldest_queued_seconds: z.number().int().nullable(),
})
export type PoolStats = z.infer<typeof PoolStats>

export const CreatePool = z.strictObject({ name: Name, description: Note.optional() })
export const UpdatePool = z.strictObject({ name: Name.optional(), description: Note.optional() })
export const Pool = z.object({
  id: PoolId,
  name: z.string(),
  description: z.string(),
  state: PoolState,
  note: z.string().nullable(),
  created_at: Timestamp,
  stats: PoolStats,
})
export type Pool = z.infer<typeof Pool>

export const DrainRequest = z.strictObject({ note: Note.optional() })

export const CreateRegistrationToken = z.strictObject({
  name: Name.optional(),
  expires_in_seconds: z.number().int().min(60).max(2_592_000).default(3600),
  max_uses: z.number().int().min(1).max(1_000_000).nullable().default(null),
})
export const CreatedRegistrationToken = z.object({
  id: RegistrationTokenId,
  pool_id: PoolId,
  name: z.string(),
  secret: z.string(),
  expires_at: Timestamp,
  max_uses: z.number().int().nullable(),
  docker_run: z.string(),
})
export const RegistrationToken = z.object({
  id: RegistrationTokenId,
  name: z.string(),
  hint: z.string(),
  created_at: Timestamp,
  expires_at: Timestamp,
  max_uses: z.number().int().nullable(),
  uses: z.number().int(),
  last_used_at: Timestamp.nullable(),
  runners_online: z.number().int(),
  revoked_at: Timestamp.nullable(),
})

export const RUNNER_STATUSES = ['online', 'draining', 'offline'] as const
export const RunnerStatus = z.enum(RUNNER_STATUSES)
export type RunnerStatus = z.infer<typeof RunnerStatus>

export const Runner = z.object({
  id: RunnerId,
  pool_id: PoolId,
  name: z.string(),
  status: RunnerStatus,
  slots: z.object({ max: z.number().int(), busy: z.number().int() }),
  sessions: z.array(z.object({ session_id: SessionId, run_id: RunId })),
  labels: z.record(z.string(), z.string()),
  last_heartbeat_at: Timestamp.nullable(),
  version: z.string(),
  version_behind: z.boolean(),
  /** Release of the agent image that it started last; null before the first. */
  agent_version: z.string().nullable().default(null),
  /** That image is of another release line (major and minor) than the runner. */
  agent_mismatch: z.boolean().default(false),
  protocol: z.number().int(),
  platform: Platform,
  engine: Engine.nullable(),
  note: z.string().nullable(),
  registered_at: Timestamp,
})
export type Runner = z.infer<typeof Runner>

export const EXECUTION_TARGETS = ['self_hosted', 'cloud'] as const
export const ExecutionTarget = z.enum(EXECUTION_TARGETS)
export type ExecutionTarget = z.infer<typeof ExecutionTarget>

const POOL_NEEDED = { path: ['pool_id'], message: 'required when execution_target is self_hosted' }
export const CreateEnvironment = z
  .strictObject({
    name: Name,
    execution_target: ExecutionTarget,
    pool_id: PoolId.nullable().optional(),
    default_image: ImageReference.nullable().optional(),
  })
  .refine(body => body.execution_target !== 'self_hosted' || typeof body.pool_id === 'string', POOL_NEEDED)
/** Whether the merged environment still has the pool it needs is checked against the stored one. */
export const UpdateEnvironment = z.strictObject({
  name: Name.optional(),
  execution_target: ExecutionTarget.optional(),
  pool_id: PoolId.nullable().optional(),
  default_image: ImageReference.nullable().optional(),
})
export const Environment = z.object({
  id: EnvironmentId,
  name: z.string(),
  execution_target: ExecutionTarget,
  pool_id: PoolId.nullable(),
  default_image: z.string().nullable(),
  created_at: Timestamp,
})
export type Environment = z.infer<typeof Environment>

export const AuditEvent = z.object({
  id: AuditEventId,
  at: Timestamp,
  actor: z.string(),
  action: z.string(),
  target: z.string(),
  address: z.string(),
  detail: z.string(),
})
export type AuditEvent = z.infer<typeof AuditEvent>

/** 1 to 255 printable ASCII characters, as the header can carry. */
export const IdempotencyKey = plainText(255).regex(
  /^[\x21-\x7e]+$/,
  'expected printable ASCII without spaces',
)

export function pageOf<Item extends z.ZodType>(item: Item) {
  return z.object({ items: z.array(item), next_cursor: z.string().nullable() })
}
export interface Page<Item> {
  readonly items: Item[]
  readonly next_cursor: string | null
}

/** A pool's state and statistics are its object's; the page goes without those that do not answer, and says which. */
export const PoolPage = pageOf(Pool).extend({ unavailable: z.array(PoolId) })

export const HealthStatus = z.object({ status: z.literal('ok'), version: z.string() })
