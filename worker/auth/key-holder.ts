import { logLine, reasonOf } from '../../durable-objects/log.ts'
import type { ApiKey } from '../../protocol/admin-api.ts'
import { accepted, type Result, refused } from '../../protocol/errors.ts'
import { equalHashes, hashSecret, isWellFormedSecret } from '../../protocol/secrets.ts'
import { findKeyByHash, noteKeyUse } from '../directory/api-keys.ts'
import { type Edge, noteAudit } from '../edge.ts'
import type { KeyHolder } from './callers.ts'

/** Who holds a tenant's key, however it came: with the call, or to sign in a browser. */

/** `last_used_at` is for people: a row a minute is fine enough and keeps keys from being written on every call. */
const KEY_USE_RESOLUTION_MS = 60_000

/** @param credential what was sent for a tenant's key */
export async function admitKey(edge: Edge, credential: string): Promise<Result<KeyHolder>> {
  if (await isOperatorKey(edge, credential)) return operatorOnly()
  return await keyHolder(edge, credential)
}

export async function keyHolder(edge: Edge, credential: string): Promise<Result<KeyHolder>> {
  if (!isWellFormedSecret('apiKey', credential)) return unknownCredential(edge)
  const found = await findKeyByHash(edge.directory, await hashSecret(credential))
  if (found === null) return unknownCredential(edge)
  const { tenant, key } = found
  const ended = howEnded(key, edge.now)
  if (ended !== null) return endedCredential(edge, tenant.id, key.id, `The API key ${ended}.`)
  noteUse(edge, tenant.id, key)
  return accepted({ kind: 'key', tenant, key, sessionEndsAt: null })
}

export function howEnded(key: ApiKey, now: number): string | null {
  if (key.revoked_at !== null) return 'was revoked'
  return key.expires_at !== null && Date.parse(key.expires_at) <= now ? 'has expired' : null
}

export function noteUse(edge: Edge, tenantId: string, key: ApiKey): void {
  if (Date.parse(key.last_used_at ?? '1970-01-01') > edge.now - KEY_USE_RESOLUTION_MS) return
  edge.background(
    noteKeyUse(edge.directory, tenantId, key.id, edge.now).catch(error =>
      logLine('warn', 'key_use_not_noted', { key_id: key.id, reason: reasonOf(error) }),
    ),
  )
}

/** Hashes both sides, so that the comparison's time says nothing about the key, its length included. */
export async function isOperatorKey(edge: Edge, credential: string): Promise<boolean> {
  const expected = edge.settings.OPERATOR_KEY
  if (expected === undefined) return false
  const [a, b] = await Promise.all([hashSecret(credential), hashSecret(expected)])
  return equalHashes(a, b)
}

export function operatorOnly(): Result<never> {
  return refused('forbidden', 'The operator key opens the operator calls only.')
}

export function unknownCredential(edge: Edge): Result<never> {
  noteAudit(edge, {
    tenant: 'unknown',
    actor: 'anonymous',
    action: 'credential.refused',
    target: edge.url.pathname,
    detail: 'the credential is not known',
  })
  return refused('unauthenticated', 'The credential is not known here.')
}

/** A credential that was good once. @param why a sentence, for the caller and the audit trail alike */
export function endedCredential(edge: Edge, tenantId: string, actor: string, why: string): Result<never> {
  noteAudit(edge, {
    tenant: { id: tenantId },
    actor,
    action: 'credential.refused',
    target: edge.url.pathname,
    detail: why,
  })
  return refused('unauthenticated', why)
}
