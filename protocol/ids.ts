import * as z from 'zod'

/** TypeID style: a three-letter kind, then a UUIDv7 in 26 characters of Crockford base32. */
export const ID_PREFIXES = {
  tenant: 'ten',
  pool: 'pol',
  registrationToken: 'tok',
  runner: 'rnr',
  environment: 'env',
  run: 'run',
  session: 'ses',
  command: 'cmd',
  apiKey: 'key',
  member: 'mem',
  auditEvent: 'aud',
  liveLink: 'lnk',
} as const

export type IdKind = keyof typeof ID_PREFIXES

const SUFFIX = '[0-7][0-9a-hjkmnp-tv-z]{25}'

function idSchema(kind: IdKind) {
  const prefix = ID_PREFIXES[kind]
  return z.string().regex(new RegExp(`^${prefix}_${SUFFIX}$`), `expected an id that starts with ${prefix}_`)
}

export const TenantId = idSchema('tenant')
export const PoolId = idSchema('pool')
export const RegistrationTokenId = idSchema('registrationToken')
export const RunnerId = idSchema('runner')
export const EnvironmentId = idSchema('environment')
export const RunId = idSchema('run')
export const SessionId = idSchema('session')
export const CommandId = idSchema('command')
export const ApiKeyId = idSchema('apiKey')
export const MemberId = idSchema('member')
export const LiveLinkId = idSchema('liveLink')
export const AuditEventId = idSchema('auditEvent')
