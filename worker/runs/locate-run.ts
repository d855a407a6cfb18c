import { accepted, type Result, refused } from '../../protocol/errors.ts'
import { isTerminal, type Run } from '../../protocol/run.ts'
import type { KeyHolder } from '../auth/callers.ts'
import { mapBounded } from '../concurrency.ts'
import { listPoolIds } from '../directory/pools.ts'
import { findRun } from '../directory/run-history.ts'
import type { PoolStub } from '../env.ts'
import type { Call } from '../http/route.ts'
import { mintedAt } from '../ids.ts'

/** A live run belongs to its pool's object, an ended one to D1, where it never changes again. */
export type LocatedRun =
  | { readonly state: 'ended'; readonly run: Run }
  | { readonly state: 'live'; readonly run: Run; readonly pool: PoolStub }

/** The outbox retries within minutes; a run that D1 does not know after an hour does not exist. */
const EARLY_COPY_GRACE_MS = 60 * 60 * 1000
const POOLS_AT_ONCE = 6

export async function locateRun(call: Call<KeyHolder>, runId: string): Promise<Result<LocatedRun>> {
  const stored = await findRun(call.directory, call.caller.tenant.id, runId)
  if (stored === null) return await searchPools(call, runId)
  if (isTerminal(stored.status)) return accepted({ state: 'ended', run: stored })
  const pool = call.pool(stored.pool_id)
  const live = await pool.getRun(runId)
  if (live.ok) return accepted({ state: 'live', run: live.value, pool })
  // The object forgets ended runs in time; what D1 has is then the last word there is.
  return live.error.code === 'not_found' ? accepted({ state: 'ended', run: stored }) : live
}

/** An acknowledged run whose copy to D1 has not arrived yet is found in one of the tenant's own pools. */
async function searchPools(call: Call<KeyHolder>, runId: string): Promise<Result<LocatedRun>> {
  const absent = refused('not_found', 'no such run')
  if (Math.abs(call.now - mintedAt(runId)) > EARLY_COPY_GRACE_MS) return absent
  const poolIds = await listPoolIds(call.directory, call.caller.tenant.id)
  const found = await mapBounded(poolIds, POOLS_AT_ONCE, async poolId => {
    const pool = call.pool(poolId)
    const run = await pool.getRun(runId)
    return run.ok ? { state: 'live' as const, run: run.value, pool } : null
  })
  const live = found.find(run => run !== null)
  return live === undefined || live === null ? absent : accepted(live)
}
