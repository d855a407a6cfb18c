import { logLine, reasonOf } from '../../durable-objects/log.ts'
import { accepted, type Result, refused } from '../../protocol/errors.ts'
import type { KeyHolder } from '../auth/callers.ts'
import {
  deletePoolRow,
  deletePoolTokens,
  environmentUsing,
  findPool,
  type PoolRecord,
  restorePoolRow,
} from '../directory/pools.ts'
import type { Call } from '../http/route.ts'
import { retrying } from '../retry.ts'

/**
 * The row goes before the object: without a row no environment can begin to point at the pool, and a row that some
 * environment points at does not go. Should the object then refuse, because a run or a runner was faster, or fail,
 * the row comes back and the delete can be repeated. An object that is gone already is an earlier delete that did
 * not reach D1.
 */
export async function deletePool(call: Call<KeyHolder>, poolId: string): Promise<Result<null>> {
  const tenantId = call.caller.tenant.id
  const record = await findPool(call.directory, tenantId, poolId)
  if (record === null) return refused('not_found', 'no such pool')
  const preview = await call.pool(poolId).previewDestroy()
  if (!preview.ok && !isGone(preview)) return preview
  const deleted = remove(call, record)
  // Goes on to its end even when the caller hangs up between the row and the object.
  call.background(deleted.catch(() => undefined))
  return await deleted
}

async function remove(call: Call<KeyHolder>, record: PoolRecord): Promise<Result<null>> {
  const tenantId = call.caller.tenant.id
  if (!(await deletePoolRow(call.directory, tenantId, record.id))) {
    const user = await environmentUsing(call.directory, tenantId, record.id)
    return refused('conflict', `The environment "${user ?? ''}" still uses the pool.`)
  }
  const restore = () => retrying(() => restorePoolRow(call.directory, tenantId, record))
  let destroyed: Result<unknown>
  try {
    destroyed = await retrying(() => call.pool(record.id).destroy())
  } catch (error) {
    await restore()
    throw error
  }
  if (!destroyed.ok && !isGone(destroyed)) {
    await restore()
    return destroyed
  }
  await retrying(() => deletePoolTokens(call.directory, tenantId, record.id)).catch(error =>
    // They open nothing any more.
    logLine('warn', 'pool_tokens_not_deleted', { pool_id: record.id, reason: reasonOf(error) }),
  )
  return accepted(null)
}

function isGone(result: Result<unknown>): boolean {
  return !result.ok && result.error.code === 'not_found'
}
