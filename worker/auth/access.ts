import { createRemoteJWKSet, errors, type JWTVerifyGetKey, jwtVerify } from 'jose'
import { z } from 'zod'
import { logLine, reasonOf } from '../../durable-objects/log.ts'
import { type AccessTeam, accessTeam, type Settings } from '../../durable-objects/settings.ts'
import { Email } from '../../protocol/admin-api.ts'
import { accepted, type Result, refused } from '../../protocol/errors.ts'
import { actorOf, membershipsOf } from '../directory/members.ts'
import { type Edge, noteAudit } from '../edge.ts'
import type { KeyHolder } from './callers.ts'

/**
 * Cloudflare Access in front of the control plane vouches for whoever it lets through, by a token that it signs.
 * https://developers.cloudflare.com/cloudflare-one/access-controls/applications/http-apps/authorization-cookie/validating-json/
 */
export const ASSERTION_HEADER = 'cf-access-jwt-assertion'

/** What Access signs with; that a token names another algorithm must not choose it. */
const ALGORITHMS = ['RS256']
/** Of a host's clock against Cloudflare's. */
const CLOCK_TOLERANCE_SECONDS = 30
/** People wait for it. */
const KEYS_TIMEOUT_MS = 5_000

interface Verifier extends AccessTeam {
  readonly keys: JWTVerifyGetKey
}

/** The team's keys are kept as long as the settings are, which is as long as the isolate lives. */
const verifiers = new WeakMap<Settings, Verifier>()

/** @returns null where Access is not set up */
function verifierOf(settings: Settings): Verifier | null {
  const known = verifiers.get(settings)
  if (known !== undefined) return known
  const team = accessTeam(settings)
  if (team === null) return null
  const keys = createRemoteJWKSet(new URL('/cdn-cgi/access/certs', team.issuer), {
    timeoutDuration: KEYS_TIMEOUT_MS,
  })
  const verifier = { ...team, keys: toldApart(keys) }
  verifiers.set(settings, verifier)
  return verifier
}

/** Whoever Access vouches for, as a member of the one tenant it is one of, or of the one it names. */
export async function admitMember(
  edge: Edge,
  assertion: string,
  slug: string | undefined,
): Promise<Result<KeyHolder>> {
  const email = await vouchedFor(edge, assertion)
  if (!email.ok) return email
  const all = await membershipsOf(edge.directory, email.value)
  const [only, ...more] = all.filter(({ tenant }) => slug === undefined || tenant.slug === slug)
  if (only === undefined) {
    noteRefusal(edge, 'no tenant has whom Cloudflare Access vouches for as a member')
    return refused('forbidden', `${email.value} is not a member. Ask an admin of the tenant to add you.`)
  }
  if (more.length > 0) {
    const slugs = all.map(({ tenant }) => tenant.slug).join(', ')
    return refused('conflict', `${email.value} is a member of several tenants; name one of: ${slugs}.`)
  }
  return accepted({
    kind: 'key',
    tenant: only.tenant,
    key: actorOf(only.member),
    sessionEndsAt: null,
  })
}

async function vouchedFor(edge: Edge, assertion: string): Promise<Result<string>> {
  const verifier = verifierOf(edge.settings)
  if (verifier === null) return refused('unauthenticated', 'Cloudflare Access is not set up here.')
  try {
    const { payload } = await jwtVerify(assertion, verifier.keys, {
      issuer: verifier.issuer,
      audience: verifier.audience,
      algorithms: ALGORITHMS,
      requiredClaims: ['exp'],
      clockTolerance: CLOCK_TOLERANCE_SECONDS,
      currentDate: new Date(edge.now),
    })
    const vouched = z.object({ email: Email }).safeParse(payload)
    return vouched.success ? accepted(vouched.data.email) : notVouched(edge, 'it names no e-mail address')
  } catch (error) {
    if (error instanceof KeysUnavailable) {
      logLine('warn', 'access_keys_unavailable', { team: verifier.issuer, reason: reasonOf(error.cause) })
      return refused('overloaded', 'The keys of Cloudflare Access could not be fetched; try again.')
    }
    if (error instanceof errors.JWTExpired) return notVouched(edge, 'it has expired; load the page again')
    if (error instanceof errors.JOSEError) return notVouched(edge, `it is not good (${error.code})`)
    throw error
  }
}

class KeysUnavailable extends Error {}

/** A token signed with a key that the team does not have is the token's fault; anything else here is not. */
function toldApart(keys: JWTVerifyGetKey): JWTVerifyGetKey {
  return async (header, token) => {
    try {
      return await keys(header, token)
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) {
        throw error
      }
      throw new KeysUnavailable('no keys', { cause: error })
    }
  }
}

function notVouched(edge: Edge, why: string): Result<never> {
  noteRefusal(edge, `the assertion of Cloudflare Access was not accepted: ${why}`)
  return refused('unauthenticated', `The assertion of Cloudflare Access was not accepted: ${why}.`)
}

function noteRefusal(edge: Edge, detail: string): void {
  noteAudit(edge, {
    tenant: 'unknown',
    actor: 'anonymous',
    action: 'credential.refused',
    target: edge.url.pathname,
    detail,
  })
}
