import { ROLES, type Role } from '../../protocol/admin-api.ts'
import { accepted, type Result, refused } from '../../protocol/errors.ts'
import { hashSecret, isWellFormedSecret } from '../../protocol/secrets.ts'
import { type Edge, noteAudit } from '../edge.ts'
import { admitSession } from './browser-session.ts'
import type { Anyone, Caller, KeyHolder, Operator, RunnerProcess, Who } from './callers.ts'
import { admitKey, isOperatorKey, keyHolder, operatorOnly, unknownCredential } from './key-holder.ts'
import { cookieOf, isForged } from './session-cookie.ts'

/** Decides who is calling before anything else of a request is looked at. */
export interface Guard<C extends Caller> {
  readonly who: Who
  admit(edge: Edge): Promise<Result<C>>
}

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
      const holder = await callerOfTenant(edge)
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

/** A key with the call, or the cookie of a browser that has signed in; what is sent on purpose wins. */
async function callerOfTenant(edge: Edge): Promise<Result<KeyHolder>> {
  if (edge.request.headers.has('authorization')) {
    const credential = bearer(edge.request)
    return credential === null ? missing() : await admitKey(edge, credential)
  }
  const cookie = cookieOf(edge.request)
  if (cookie === null) return missing()
  return isForged(edge.request) ? FOREIGN_PAGE : await admitSession(edge, cookie)
}

/** A page of somebody else's has a browser call with the cookie it holds. */
export const FOREIGN_PAGE = refused('forbidden', 'Only pages of this control plane may call with its cookie.')

function bearer(request: Request): string | null {
  const [, credential] = /^Bearer +([^\s]+) *$/i.exec(request.headers.get('authorization') ?? '') ?? []
  return credential === undefined || credential.length > CREDENTIAL_LIMIT_CHARS ? null : credential
}

/** No credential at all is not a refused one: nothing to audit. */
function missing(): Result<never> {
  return refused('unauthenticated', 'Sign in, or send a credential as Authorization: Bearer.')
}
