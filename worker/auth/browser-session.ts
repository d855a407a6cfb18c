import { relayEnabled, runnersEnabled, type Settings } from '../../durable-objects/settings.ts'
import type { BrowserSession, Me } from '../../protocol/admin-api.ts'
import { accepted, type Result, refused } from '../../protocol/errors.ts'
import { hashSecret, isWellFormedSecret, mintSecret } from '../../protocol/secrets.ts'
import { timestamp } from '../../protocol/text.ts'
import { type FoundSession, findSession, insertSession } from '../directory/browser-sessions.ts'
import { actorOf } from '../directory/members.ts'
import { type Edge, noteAudit } from '../edge.ts'
import type { KeyHolder } from './callers.ts'
import { endedCredential, howEnded, noteUse, unknownCredential } from './key-holder.ts'

/**
 * A browser signs in once, with a key or through Cloudflare Access, and holds a cookie from then on, never the key. The
 * session is looked at together with what it stands on at every call, so it ends the moment that does.
 */

/** A working day and some; the next one begins with signing in. */
const SESSION_MS = 12 * 60 * 60 * 1000

/** A caller who came with a cookie. */
export interface SignedIn extends KeyHolder {
  readonly sessionEndsAt: number
}

/** @param replaces the cookie that the browser held until now @returns the cookie's value, shown this once */
export async function openSession(
  edge: Edge,
  { tenant, key }: KeyHolder,
  replaces: string | null,
): Promise<{ secret: string; holder: SignedIn }> {
  const secret = mintSecret('browserSession')
  const keyEndsAt = key.expires_at === null ? Number.POSITIVE_INFINITY : Date.parse(key.expires_at)
  const sessionEndsAt = Math.min(edge.now + SESSION_MS, keyEndsAt)
  await insertSession(
    edge.directory,
    {
      hash: await hashSecret(secret),
      tenantId: tenant.id,
      holderId: key.id,
      createdAt: edge.now,
      expiresAt: sessionEndsAt,
    },
    await sessionHash(replaces),
  )
  return { secret, holder: { kind: 'key', tenant, key, sessionEndsAt } }
}

/** @param secret the cookie's value */
export async function admitSession(edge: Edge, secret: string): Promise<Result<SignedIn>> {
  const hash = await sessionHash(secret)
  if (hash === null) return unknownCredential(edge)
  const found = await findSession(edge.directory, hash)
  if (found === null) return signedOut(edge)
  const { tenant, holder, holderId, expiresAt } = found
  const why = whyEnded(found, edge.now)
  if (why !== null || holder === null) return endedCredential(edge, tenant.id, holderId, why ?? REMOVED)
  if ('key' in holder) noteUse(edge, tenant.id, holder.key)
  const key = 'key' in holder ? holder.key : actorOf(holder.member)
  return accepted({ kind: 'key', tenant, key, sessionEndsAt: expiresAt })
}

const REMOVED = 'The member who signed in here was removed from the tenant.'

/** What stands behind the session comes first: somebody can do something about that. */
function whyEnded({ holder, expiresAt }: FoundSession, now: number): string | null {
  if (holder === null) return REMOVED
  const ended = 'key' in holder ? howEnded(holder.key, now) : null
  if (ended !== null) return `The API key that signed in here ${ended}. Sign in with another one.`
  return expiresAt <= now ? 'The session has expired. Sign in again.' : null
}

function signedOut(edge: Edge): Result<never> {
  noteAudit(edge, {
    tenant: 'unknown',
    actor: 'anonymous',
    action: 'credential.refused',
    target: edge.url.pathname,
    detail: 'the browser session is not known',
  })
  return refused('unauthenticated', 'You are signed out. Sign in again.')
}

/** @returns what the session is stored under, or null for a cookie that was not given out here */
export async function sessionHash(secret: string | null): Promise<string | null> {
  return secret !== null && isWellFormedSecret('browserSession', secret) ? await hashSecret(secret) : null
}

export function describeCaller(settings: Settings, { tenant, key }: KeyHolder): Me {
  const features = {
    self_hosted_runners: runnersEnabled(settings, tenant.slug),
    self_hosted_relay: relayEnabled(settings, tenant.slug),
  }
  return { tenant, key, features }
}

export function describeSession(settings: Settings, holder: SignedIn): BrowserSession {
  return {
    ...describeCaller(settings, holder),
    expires_at: timestamp(holder.sessionEndsAt),
    artifact_retention_days: settings.SelfHosted__ArtifactRetentionDays,
  }
}
