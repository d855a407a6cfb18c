import { logLine, reasonOf } from '../../durable-objects/log.ts'
import { ROLES, type Role } from '../../protocol/admin-api.ts'
import { accepted, type Result, refused } from '../../protocol/errors.ts'
import { equalHashes, hashSecret, isWellFormedSecret } from '../../protocol/secrets.ts'
import { findKeyByHash, noteKeyUse } from '../directory/api-keys.ts'
import { type Edge, noteAudit } from '../edge.ts'
import type { Anyone, Caller, KeyHolder, Operator, RunnerProcess, Who } from './callers.ts'

/** Decides who is calling before anything else of a request is looked at. */
export interface Guard<C extends Caller> {
  readonly who: Who
  admit(edge: Edge): Promise<Result<C>>
}

/** `last_used_at` is for people: a row a minute is fine enough and keeps keys from being written on every call. */
const KEY_USE_RESOLUTION_MS = 60_000

/** The longest credential there can be; an operator key is shorter in practice. Keeps hashing cheap. */
const CREDENTIAL_LIMIT_CHARS = 1024

export const anyone: Guard<Anyone> = {
  who: 'public',
  admit: async () => accepted({ kind: 'anyone' }),
}

export const operator: Guard<Operator> = {
  who: 'operator',
  async admit(edge) {
    const credential = bearer(edge.request)
    if (credential === null) return missing()
    if (await isOperatorKey(edge, credential)) return accepted({ kind: 'operator' })
    const holder = await keyHolder(edge, credential)
    if (!holder.ok) return holder
    const { tenant, key } = holder.value
    noteAudit(edge, {
      tenant: { id: tenant.id },
      actor: key.id,
      action: 'credential.refused',
      target: edge.url.pathname,
      detail: 'only the operator key may do this',
    })
    return refused('unauthenticated', 'Only the operator key may do this.')
  },
}

export function atLeast(role: Role): Guard<KeyHolder> {
  return {
    who: role,
    async admit(edge) {
      const credential = bearer(edge.request)
      if (credential === null) return missing()
      if (await isOperatorKey(edge, credential)) return operatorOnly()
      const holder = await keyHolder(edge, credential)
      if (!holder.ok) return holder
      if (ROLES.indexOf(holder.value.key.role) < ROLES.indexOf(role)) {
        return refused('forbidden', `This needs the role ${role}.`)
      }
      return holder
    },
  }
}

/** Checks only what can be checked without a look-up; the pool's object decides whether the credential is good. */
export const poolRunner: Guard<RunnerProcess> = {
  who: 'runner',
  async admit(edge) {
    const credential = bearer(edge.request)
    if (credential === null) return missing()
    if (!isWellFormedSecret('runnerCredential', credential)) {
      if (await isOperatorKey(edge, credential)) return operatorOnly()
      return unknownCredential(edge)
    }
    return accepted({ kind: 'runner', credentialHash: await hashSecret(credential) })
  },
}

function bearer(request: Request): string | null {
  const [, credential] = /^Bearer +([^\s]+) *$/i.exec(request.headers.get('authorization') ?? '') ?? []
  return credential === undefined || credential.length > CREDENTIAL_LIMIT_CHARS ? null : credential
}

/** Hashes both sides, so that the comparison's time says nothing about the key, its length included. */
async function isOperatorKey(edge: Edge, credential: string): Promise<boolean> {
  const expected = edge.settings.OPERATOR_KEY
  if (expected === undefined) return false
  const [a, b] = await Promise.all([hashSecret(credential), hashSecret(expected)])
  return equalHashes(a, b)
}

async function keyHolder(edge: Edge, credential: string): Promise<Result<KeyHolder>> {
  if (!isWellFormedSecret('apiKey', credential)) return unknownCredential(edge)
  const found = await findKeyByHash(edge.directory, await hashSecret(credential))
  if (found === null) return unknownCredential(edge)
  const { tenant, key } = found
  const ended = key.revoked_at !== null ? 'revoked' : isPast(key.expires_at, edge.now) ? 'expired' : null
  if (ended !== null) {
    noteAudit(edge, {
      tenant: { id: tenant.id },
      actor: key.id,
      action: 'credential.refused',
      target: edge.url.pathname,
      detail: `the API key is ${ended}`,
    })
    return refused('unauthenticated', `The API key is ${ended}.`)
  }
  if (Date.parse(key.last_used_at ?? '1970-01-01') <= edge.now - KEY_USE_RESOLUTION_MS) {
    edge.background(
      noteKeyUse(edge.directory, tenant.id, key.id, edge.now).catch(error =>
        logLine('warn', 'key_use_not_noted', { key_id: key.id, reason: reasonOf(error) }),
      ),
    )
  }
  return accepted({ kind: 'key', tenant, key })
}

function isPast(at: string | null, now: number): boolean {
  return at !== null && Date.parse(at) <= now
}

/** No credential at all is not a refused one: nothing to audit. */
function missing(): Result<never> {
  return refused('unauthenticated', 'Send a credential as Authorization: Bearer.')
}

function operatorOnly(): Result<never> {
  return refused('forbidden', 'The operator key opens the operator calls only.')
}

function unknownCredential(edge: Edge): Result<never> {
  noteAudit(edge, {
    tenant: 'unknown',
    actor: 'anonymous',
    action: 'credential.refused',
    target: edge.url.pathname,
    detail: 'the credential is not known',
  })
  return refused('unauthenticated', 'The credential is not known here.')
}
