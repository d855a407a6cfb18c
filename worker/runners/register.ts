import { logLine, reasonOf } from '../../durable-objects/log.ts'
import type { Registration } from '../../durable-objects/runner-pool/rpc.ts'
import { runnersEnabled } from '../../durable-objects/settings.ts'
import { accepted, type Result, refused } from '../../protocol/errors.ts'
import type { RegisterRequest, RegisterResponse } from '../../protocol/runner-api.ts'
import { hashSecret, isWellFormedSecret, mintSecret } from '../../protocol/secrets.ts'
import { timestamp } from '../../protocol/text.ts'
import { poolExists } from '../directory/pools.ts'
import {
  findTokenByHash,
  giveBackUse,
  type PresentedToken,
  type RegisteringProcess,
  settleUse,
  takeUse,
} from '../directory/registration-tokens.ts'
import { type Edge, noteAudit } from '../edge.ts'
import type { PoolStub } from '../env.ts'
import { mintId } from '../ids.ts'

/**
 * A token becomes a runner. The order of the refusals is the contract's, and a use is counted once however often
 * its reply is lost: before the object is called it is recorded as open, and only the object's answer settles it or
 * gives it back. When that answer never comes, the same process finds its open use again.
 */
export async function registerRunner(edge: Edge, body: RegisterRequest): Promise<Result<RegisterResponse>> {
  const judged = await judgeToken(edge, body)
  if (!judged.ok) return judged
  const token = judged.value
  const pool = edge.pool(body.pool_id)
  const process = { tenantId: token.tenant.id, tokenId: token.id, name: body.name, bootId: body.boot_id }
  const counted = await countUse(edge, token, pool, process)
  if (!counted.ok) return counted
  const useId = counted.value

  const credential = mintSecret('runnerCredential')
  const registered = await pool.register(registrationOf(token, body, await hashSecret(credential)))
  if (!registered.ok) {
    if (useId !== null) await giveBackUse(edge.directory, process, useId)
    return registered
  }
  const { runner_id, sync_interval_ms } = registered.value
  // The runner is in: that its use stays open a while longer only matters to a retry of the same process.
  await settleUse(edge.directory, process, useId, runner_id).catch(error =>
    logLine('warn', 'use_not_settled', { token_id: token.id, reason: reasonOf(error) }),
  )
  noteAudit(edge, {
    tenant: { id: token.tenant.id },
    actor: token.id,
    action: 'runner.registered',
    target: runner_id,
  })
  return accepted({
    runner_id,
    pool_id: body.pool_id,
    credential,
    sync_interval_ms,
    server_time: timestamp(edge.now),
  })
}

function registrationOf(token: PresentedToken, body: RegisterRequest, credentialHash: string): Registration {
  return {
    token_id: token.id,
    name: body.name,
    boot_id: body.boot_id,
    fresh_runner_id: mintId('runner'),
    credential_hash: credentialHash,
    boot: body.boot,
    protocol: body.protocol,
    max_concurrency: body.max_concurrency,
    labels: body.labels,
    version: body.version,
    platform: body.platform,
    engine: body.engine ?? null,
  }
}

/** @returns the id of the use this call holds open, or null where the process has been counted before */
async function countUse(
  edge: Edge,
  token: PresentedToken,
  pool: PoolStub,
  process: RegisteringProcess,
): Promise<Result<string | null>> {
  const who = { token_id: process.tokenId, name: process.name, boot_id: process.bootId }
  const preview = await pool.previewRegistration(who)
  if (preview.ok && preview.value === 'repeat') return accepted(null)
  if (!preview.ok && !(preview.error.code === 'runner_name_taken' && token.usedUp)) return preview
  const useId = preview.ok ? await takeUse(edge.directory, process, newUseId(), edge.now) : null
  if (useId !== null) return accepted(useId)
  // The last use may have gone to a twin of this very call, which has registered since the first look.
  const again = await pool.previewRegistration(who)
  if (again.ok && again.value === 'repeat') return accepted(null)
  return refuseToken(edge, token, 'token_used_up', 'no uses are left')
}

async function judgeToken(edge: Edge, body: RegisterRequest): Promise<Result<PresentedToken>> {
  if (!isWellFormedSecret('registrationToken', body.registration_token)) return unknownToken(edge, body)
  const token = await findTokenByHash(edge.directory, await hashSecret(body.registration_token))
  if (token === null || token.poolId !== body.pool_id) {
    const exists = await poolExists(edge.directory, body.pool_id)
    return exists ? unknownToken(edge, body) : refused('not_found', 'no such pool')
  }
  if (token.revokedAt !== null) return refuseToken(edge, token, 'token_revoked', 'it was revoked')
  if (token.expiresAt <= edge.now) return refuseToken(edge, token, 'token_expired', 'it has expired')
  if (!runnersEnabled(edge.settings, token.tenant.slug)) {
    return refused('feature_disabled', 'Self-hosted runners are off for this tenant.')
  }
  return accepted(token)
}

function unknownToken(edge: Edge, body: RegisterRequest): Result<never> {
  noteAudit(edge, {
    tenant: { ofPool: body.pool_id },
    actor: 'anonymous',
    action: 'credential.refused',
    target: body.pool_id,
    detail: 'the registration token is not known to this pool',
  })
  return refused('unauthenticated', 'The registration token is not known to this pool.')
}

function refuseToken(
  edge: Edge,
  token: PresentedToken,
  code: 'token_revoked' | 'token_expired' | 'token_used_up',
  why: string,
): Result<never> {
  noteAudit(edge, {
    tenant: { id: token.tenant.id },
    actor: token.id,
    action: 'credential.refused',
    target: token.poolId,
    detail: `the registration token was not accepted: ${why}`,
  })
  return refused(code, `The registration token was not accepted: ${why}. Create a new one for this pool.`)
}

/** Uses are never shown, so their ids need no prefix. */
function newUseId(): string {
  return crypto.randomUUID()
}
