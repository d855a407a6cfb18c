import { accepted, type Result, refused } from '../../protocol/errors.ts'
import { isTerminal, type Run } from '../../protocol/run.ts'
import type { KeyHolder } from '../auth/callers.ts'
import { findRunPlace } from '../directory/run-history.ts'
import type { PoolStub } from '../env.ts'
import type { Call } from '../http/route.ts'

/**
 * A live run belongs to its pool's object, an ended one to D1, where it never changes again. D1 knows the pool of
 * every run from before the object took it, so one object is asked, whatever became of the copy.
 */
export type LocatedRun =
  | { readonly state: 'ended'; readonly run: Run }
  | { readonly state: 'live'; readonly run: Run; readonly pool: PoolStub }

export async function locateRun(call: Call<KeyHolder>, runId: string): Promise<Result<LocatedRun>> {
  const place = await findRunPlace(call.directory, call.caller.tenant.id, runId)
  if (place === null) return refused('not_found', 'no such run')
  const stored = place.run
  if (stored !== null && isTerminal(stored.status)) return accepted({ state: 'ended', run: stored })
  const pool = call.pool(place.poolId)
  const live = await pool.getRun(runId)
  if (live.ok) return accepted({ state: 'live', run: live.value, pool })
  // The object forgets ended runs in time; what D1 has is then the last word there is.
  return live.error.code === 'not_found' && stored !== null ? accepted({ state: 'ended', run: stored }) : live
}
