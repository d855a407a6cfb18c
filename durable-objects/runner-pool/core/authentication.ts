import { accepted, type Result, refused } from '../../../protocol/errors.ts'
import { equalHashes } from '../../../protocol/secrets.ts'
import type { PoolContext } from './context.ts'
import type { RunnerRecord } from './model.ts'

const REFUSED = refused(
  'unauthenticated',
  'the credential is not this runner’s; a removed runner must be registered again',
)

/**
 * Finds the runner a credential belongs to. The first use of a pending credential makes it the current one
 * on the record; the caller saves the record if `promoted`.
 */
export function authenticate(
  ctx: PoolContext,
  runnerId: string,
  credentialHash: string,
): Result<{ runner: RunnerRecord; promoted: boolean }> {
  const runner = ctx.store.runners.get(runnerId)
  if (runner === null || runner.removedAt !== null) return REFUSED
  if (equalHashes(runner.credentialHash, credentialHash)) return accepted({ runner, promoted: false })
  const pending = runner.pendingCredentialHash
  if (pending === null || !equalHashes(pending, credentialHash)) return REFUSED
  runner.credentialHash = pending
  runner.pendingCredentialHash = null
  return accepted({ runner, promoted: true })
}
