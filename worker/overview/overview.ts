import { logLine, reasonOf } from '../../durable-objects/log.ts'
import type { PoolStats } from '../../protocol/admin-api.ts'
import { POOL_PAGE_MAX } from '../../protocol/limits.ts'
import { type Overview, SAMPLE_INTERVAL_MS } from '../../protocol/overview.ts'
import type { KeyHolder } from '../auth/callers.ts'
import { mapBounded } from '../concurrency.ts'
import { listPools } from '../directory/pools.ts'
import { expiringTokens } from '../directory/registration-tokens.ts'
import { outcomesSince } from '../directory/run-outcomes.ts'
import type { Call } from '../http/route.ts'
import { attentionOf, type LookedAtPool } from './attention.ts'
import { oldest, together } from './series.ts'

/** A few objects at a time leave connections for everybody else. */
const POOLS_AT_ONCE = 10
/** More points than a chart has room for cost the reader and show nothing. */
const POINTS_OF_ALL = 288
const POINTS_OF_ONE = 24 * 60
/** What a token still opens for a day can be replaced at leisure. */
const TOKEN_NOTICE_MS = 24 * 3_600_000

const HOUR_MS = 3_600_000

/** @returns from when on, and how long one sample stands for */
export function spanOf(
  now: number,
  hours: number,
  points = POINTS_OF_ONE,
): { since: number; step_ms: number } {
  const minutes = Math.max(1, Math.ceil((hours * 60) / points))
  return { since: now - hours * HOUR_MS, step_ms: minutes * SAMPLE_INTERVAL_MS }
}

/** The newest pools, as many as a page of them has, and the runs of all. */
export async function overviewOf(call: Call<KeyHolder>, hours: number): Promise<Overview> {
  const { tenant, key } = call.caller
  const span = spanOf(call.now, hours, POINTS_OF_ALL)
  const [{ pools, unavailable }, outcomes, tokens] = await Promise.all([
    lookAtPools(call, span),
    outcomesSince(call.directory, tenant.id, span.since),
    // Only an admin reads of tokens.
    key.role === 'admin' ? expiringTokens(call.directory, tenant.id, call.now, TOKEN_NOTICE_MS) : [],
  ])
  return {
    hours,
    now: pools.map(pool => pool.overview.stats).reduce(sum, NOTHING),
    outcomes: outcomes.counts,
    samples: together(
      pools.map(pool => pool.overview.samples),
      span.step_ms,
    ),
    attention: attentionOf(pools, outcomes, tokens),
    unavailable,
  }
}

async function lookAtPools(
  call: Call<KeyHolder>,
  span: { since: number; step_ms: number },
): Promise<{ pools: LookedAtPool[]; unavailable: string[] }> {
  const page = { limit: POOL_PAGE_MAX, after: null }
  const records = (await listPools(call.directory, call.caller.tenant.id, page)).slice(0, POOL_PAGE_MAX)
  const pools: LookedAtPool[] = []
  const unavailable: string[] = []
  await mapBounded(records, POOLS_AT_ONCE, async ({ id, name }) => {
    try {
      const looked = await call.pool(id).overview(span)
      // A pool whose object is gone is being deleted.
      if (looked.ok) pools.push({ id, name, overview: looked.value })
    } catch (error) {
      logLine('warn', 'pool_not_answering', { pool_id: id, reason: reasonOf(error) })
      unavailable.push(id)
    }
  })
  return { pools: pools.sort((a, b) => (a.id < b.id ? 1 : -1)), unavailable }
}

const NOTHING: PoolStats = {
  runners_online: 0,
  runners_total: 0,
  slots_total: 0,
  slots_busy: 0,
  queued: 0,
  oldest_queued_seconds: null,
}

function sum(a: PoolStats, b: PoolStats): PoolStats {
  return {
    runners_online: a.runners_online + b.runners_online,
    runners_total: a.runners_total + b.runners_total,
    slots_total: a.slots_total + b.slots_total,
    slots_busy: a.slots_busy + b.slots_busy,
    queued: a.queued + b.queued,
    oldest_queued_seconds: oldest(a.oldest_queued_seconds, b.oldest_queued_seconds),
  }
}
