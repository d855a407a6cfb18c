import { logLine, reasonOf } from '../../durable-objects/log.ts'
import { projectRuns } from '../../durable-objects/runner-pool/projection.ts'
import type { NewRun } from '../../durable-objects/runner-pool/rpc.ts'
import type { Environment } from '../../protocol/admin-api.ts'
import { accepted, type Result, refused } from '../../protocol/errors.ts'
import { type CreateRun, isTerminal, type Run } from '../../protocol/run.ts'
import type { KeyHolder } from '../auth/callers.ts'
import { findEnvironment } from '../directory/environments.ts'
import { claimKey, findClaim, type IdempotencyClaim, moveClaim } from '../directory/idempotency-keys.ts'
import { announceElsewhere, announceRun, findRun } from '../directory/run-history.ts'
import { invalidField } from '../http/input.ts'
import { created, done, type Reply } from '../http/reply.ts'
import type { Call } from '../http/route.ts'
import { mintId } from '../ids.ts'
import { hashBody } from './body-hash.ts'

/**
 * Acknowledged means durable: the answer is 201 only once the pool's object has stored the run. The run's id and pool
 * and, with an Idempotency-Key, its claim are in D1 before the object is called, and `enqueue` is idempotent by run id; so a
 * call that died anywhere in between can be repeated, and callers who race end up with the same run.
 */

/** The copy in D1 only makes lists fresh; the object's outbox repeats it, so nobody waits long for it. */
const EARLY_COPY_LIMIT_MS = 1_000

interface Wanted {
  readonly environmentId: string
  readonly body: CreateRun
  readonly idempotencyKey: string | null
}

export async function createRun(call: Call<KeyHolder>, wanted: Wanted): Promise<Result<Reply<Run>>> {
  const tenantId = call.caller.tenant.id
  const bodyHash = await hashBody(wanted.environmentId, wanted.body)
  if (wanted.idempotencyKey !== null) {
    const claim = await findClaim(call.directory, tenantId, wanted.idempotencyKey, call.now)
    const replayed = claim === null ? null : await replay(call, claim, bodyHash)
    if (replayed !== null) return replayed
  }

  const environment = await findEnvironment(call.directory, tenantId, wanted.environmentId)
  if (environment === null) return refused('not_found', 'no such environment')
  const target = targetOf(call, environment, wanted.body)
  if (!target.ok) return target

  const { poolId, run } = target.value
  const fresh = { bodyHash, runId: mintId('run'), poolId }
  if (wanted.idempotencyKey === null) return await enqueue(call, fresh, run)
  const claim = await claimKey(call.directory, tenantId, wanted.idempotencyKey, fresh, call.now)
  if (claim.bodyHash !== bodyHash) return mismatch()
  const made = await enqueue(call, claim, run)
  const isGone = !made.ok && made.error.code === 'not_found'
  if (!isGone || claim.poolId === poolId) return made
  // The claimed pool was deleted, which it could not have been with the run in it: nobody has it yet.
  const moved = await moveClaim(call.directory, tenantId, wanted.idempotencyKey, claim, poolId)
  await announceElsewhere(call.directory, tenantId, moved.runId, moved.poolId)
  return await enqueue(call, moved, run)
}

/** Answers from what the key's first call made, or null when that call never got as far as the object. */
async function replay(
  call: Call<KeyHolder>,
  claim: IdempotencyClaim,
  bodyHash: string,
): Promise<Result<Reply<Run>> | null> {
  if (claim.bodyHash !== bodyHash) return mismatch()
  const stored = await findRun(call.directory, call.caller.tenant.id, claim.runId)
  if (stored !== null && isTerminal(stored.status)) return accepted(done(stored))
  const live = await call.pool(claim.poolId).getRun(claim.runId)
  if (live.ok) return accepted(done(live.value))
  return stored === null ? null : accepted(done(stored))
}

function mismatch(): Result<never> {
  return refused('idempotency_mismatch', 'This Idempotency-Key was used with another body; take a new one.')
}

function targetOf(
  call: Call<KeyHolder>,
  environment: Environment,
  body: CreateRun,
): Result<{ poolId: string; run: Omit<NewRun, 'run_id'> }> {
  const { gpu: _, ...resources } = body.resources
  if (environment.execution_target !== 'self_hosted' || environment.pool_id === null) {
    return refused(
      'execution_target_not_self_hosted',
      'Set execution_target to self_hosted and select a pool.',
    )
  }
  const image = body.image ?? environment.default_image ?? call.settings.Docker__DefaultImage
  if (image === undefined) {
    return invalidField('image', 'required: neither the environment nor Docker__DefaultImage names one')
  }
  const run = {
    environment_id: environment.id,
    image,
    command: body.command ?? null,
    env: body.env,
    timeout_seconds: body.timeout_seconds,
    queue_timeout_seconds: body.queue_timeout_seconds,
    priority: body.priority,
    labels: body.labels,
    resources,
    stream: body.stream,
    max_attempts: body.max_attempts,
    metadata: body.metadata,
    traceparent: call.traceparent,
  }
  return accepted({ poolId: environment.pool_id, run })
}

async function enqueue(
  call: Call<KeyHolder>,
  { runId, poolId }: IdempotencyClaim,
  run: Omit<NewRun, 'run_id'>,
): Promise<Result<Reply<Run>>> {
  await announceRun(call.directory, call.caller.tenant.id, {
    id: runId,
    poolId,
    environmentId: run.environment_id,
  })
  const queued = await call.pool(poolId).enqueue({ ...run, run_id: runId })
  if (!queued.ok) return queued
  if (!queued.value.created) return accepted(done(queued.value.run))
  await copyEarly(call, queued.value)
  return accepted(created(queued.value.run))
}

async function copyEarly(call: Call<KeyHolder>, queued: { run: Run; version: number }): Promise<void> {
  const copy = projectRuns(call.env.DB, [
    { tenantId: call.caller.tenant.id, version: queued.version, run: queued.run, events: [] },
  ]).catch(error => logLine('warn', 'early_copy_failed', { run_id: queued.run.id, reason: reasonOf(error) }))
  // Past the limit the copy goes on in the background; the answer does not.
  call.background(copy)
  await Promise.race([copy, new Promise(resolve => setTimeout(resolve, EARLY_COPY_LIMIT_MS))])
}
