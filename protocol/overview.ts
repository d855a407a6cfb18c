import * as z from 'zod'
import { PoolStats } from './admin-api.ts'
import { PoolId, RegistrationTokenId, RunId, RunnerId } from './ids.ts'
import { TERMINAL_STATUSES } from './run.ts'
import { Timestamp } from './text.ts'

/** How a fleet does: what there is now, how it was, and what somebody should look at. */

/** Samples are kept so long. */
export const HISTORY_DAYS = 30
/** One sample stands for this long, and none is taken while nothing happens. */
export const SAMPLE_INTERVAL_MS = 60_000

export const Hours = z.coerce
  .number()
  .int()
  .min(1)
  .max(HISTORY_DAYS * 24)
  .default(24)

/** A minute's values; a minute without one was like the minute before, or had nothing in it. */
export const PoolSample = z.object({
  at: Timestamp,
  queued: z.number().int(),
  slots_busy: z.number().int(),
  slots_total: z.number().int(),
  oldest_queued_seconds: z.number().int().nullable(),
})
export type PoolSample = z.infer<typeof PoolSample>

/** Oldest first. */
export const PoolHistory = z.object({ items: z.array(PoolSample) })

/** What needs attention, by kind: each names the place to go to. */
export const Attention = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('no_runner_online'),
    pool_id: PoolId,
    pool_name: z.string(),
    queued: z.number().int(),
  }),
  z.object({
    kind: z.literal('runner_offline'),
    pool_id: PoolId,
    pool_name: z.string(),
    runner_id: RunnerId,
    runner_name: z.string(),
    since: Timestamp.nullable(),
  }),
  z.object({
    kind: z.literal('version_behind'),
    pool_id: PoolId,
    pool_name: z.string(),
    runner_id: RunnerId,
    runner_name: z.string(),
    version: z.string(),
  }),
  z.object({
    kind: z.literal('token_expiring'),
    pool_id: PoolId,
    pool_name: z.string(),
    token_id: RegistrationTokenId,
    token_name: z.string(),
    expires_at: Timestamp,
  }),
  z.object({ kind: z.literal('runs_lost'), count: z.number().int(), latest_run_id: RunId }),
])
export type Attention = z.infer<typeof Attention>

export const Overview = z.object({
  hours: z.number().int(),
  now: PoolStats,
  /** Runs that ended within the hours asked for. */
  outcomes: z.record(z.enum(TERMINAL_STATUSES), z.number().int()),
  /** Of all pools together, oldest first. */
  samples: z.array(PoolSample),
  /** The most urgent first, at most ATTENTION_LIMIT. */
  attention: z.array(Attention),
  /** Pools that could not be asked just now; nothing above tells of them. */
  unavailable: z.array(PoolId),
})
export type Overview = z.infer<typeof Overview>

export const ATTENTION_LIMIT = 50
