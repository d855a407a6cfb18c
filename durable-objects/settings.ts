import { z } from 'zod'
import { Slug } from '../protocol/admin-api.ts'
import { ImageReference } from '../protocol/image-reference.ts'
import { OtlpEndpoint, OtlpHeaders } from '../protocol/otlp.ts'

/**
 * Every setting of the control plane, parsed once from Worker vars or a process environment.
 * A wrong value is never replaced by a default: the caller gets one line per bad name.
 */
const Flag = z
  .enum(['true', 'false', '1', '0'], 'expected true or false')
  .transform(text => text === 'true' || text === '1')
  .meta({ values: '`true`, `false`' })

function whole(unit: 'seconds' | 'days' | 'numbers', min: number, max: number, initial: number) {
  const expected = `expected whole ${unit} from ${min} to ${max}`
  return z
    .string()
    .regex(/^[0-9]+$/, expected)
    .transform(Number)
    .refine(value => value >= min && value <= max, expected)
    .default(initial)
    .meta({ values: `${min} to ${max}` })
}

function seconds(min: number, max: number, initial: number) {
  return whole('seconds', min, max, initial)
}

/** An entry that is no slug can match no tenant and would lock everyone out. */
const Slugs = z
  .string()
  .transform(text =>
    text
      .split(',')
      .map(entry => entry.trim())
      .filter(entry => entry !== ''),
  )
  .refine(
    entries => entries.every(entry => Slug.safeParse(entry).success),
    'expected tenant slugs with commas between them',
  )
  .default([])

/**
 * `team.cloudflareaccess.com`, or its `https://` address. Plain HTTP is for a stand-in on this machine only.
 * Becomes the origin that the team's tokens name as their issuer.
 */
const TeamDomain = z.string().transform((text, context) => {
  const url = URL.parse(text.includes('://') ? text : `https://${text}`)
  const isLocal = url?.protocol === 'http:' && /^(?:127\.0\.0\.1|localhost|\[::1\])$/.test(url.hostname)
  const isBare = url?.href === `${url?.origin}/`
  if (url !== null && isBare && (url.protocol === 'https:' || isLocal)) return url.origin
  context.addIssue('expected a host name such as team.cloudflareaccess.com')
  return z.NEVER
})

const Audience = z
  .string()
  .regex(/^[\x21-\x7e]{1,256}$/, 'expected the Application Audience (AUD) tag of the Access application')

const Ratio = z
  .string()
  .regex(/^(?:0(?:\.[0-9]+)?|1(?:\.0+)?)$/, 'expected a number from 0 to 1')
  .transform(Number)

/** What each says of itself is what docs/settings.md says of it. */
export const SettingsSchema = z.object({
  Features__SelfHostedRunnersEnabled: Flag.default(false).describe(
    'lets tenants use pools, tokens, environments and runs (`npm run up`: true)',
  ),
  Features__SelfHostedRelayEnabled: Flag.default(false).describe(
    'lets tenants watch their runs live (`npm run up`: true)',
  ),
  SelfHosted__EnabledTenants: Slugs.meta({
    description: 'the tenants that may use runners',
    values: 'tenant slugs with commas between them',
    initial: 'all',
  }),
  SelfHosted__RelayEnabledTenants: Slugs.meta({
    description: 'the tenants that may watch',
    values: 'tenant slugs with commas between them',
    initial: 'all',
  }),
  Docker__DefaultImage: ImageReference.optional().meta({
    description: 'image of runs that name none, in environments that name none',
    values: 'an image reference',
  }),
  SelfHosted__LeaseTtlSeconds: seconds(5, 3600, 45).describe(
    'how long a runner may go unheard before it ends its sessions',
  ),
  SelfHosted__LeaseGraceSeconds: seconds(1, 300, 15).describe(
    'how much later the control plane gives a run to another runner',
  ),
  SelfHosted__OfferTtlSeconds: seconds(2, 600, 20).describe('how long an offer stays open'),
  SelfHosted__HandoverSeconds: seconds(1, 86_400, 300).describe(
    'how long sessions wait for the next daemon after a runner left',
  ),
  SelfHosted__SyncIdleSeconds: seconds(1, 300, 5).describe(
    'rhythm of an idle runner without its doorbell; with it 60 times as long',
  ),
  SelfHosted__UploadWindowSeconds: seconds(1, 86_400, 900).describe(
    'how long after a session’s end its log and artifacts are still taken',
  ),
  SelfHosted__RelayConnectTimeoutSeconds: seconds(1, 120, 15).describe(
    'how long a viewer waits for the runner before it is told to come back',
  ),
  SelfHosted__MaxViewers: whole('numbers', 1, 10_000, 100).describe('viewers of one session at once'),
  SelfHosted__LogCapBytes: whole('numbers', 65_536, 4_294_967_296, 268_435_456).describe(
    'how much of a session’s log is kept',
  ),
  SelfHosted__ArtifactRetentionDays: whole('days', 1, 3650, 30).describe(
    'how long logs and artifacts are kept',
  ),
  SelfHosted__HistoryRetentionDays: whole('days', 1, 3650, 90).describe(
    'how long ended runs and audit events are kept',
  ),
  Access__TeamDomain: TeamDomain.optional().meta({
    description: 'Cloudflare Access team whose members may sign in; goes with `Access__Audience`',
    values: '`team.cloudflareaccess.com`',
  }),
  Access__Audience: Audience.optional().meta({
    description: 'Application Audience (AUD) tag of the Access application; goes with `Access__TeamDomain`',
    values: 'up to 256 characters',
  }),
  RateLimits__Enabled: Flag.default(true).describe(
    'at most 300 calls a minute per address without a valid credential, 6,000 per key',
  ),
  OTEL_EXPORTER_OTLP_ENDPOINT: OtlpEndpoint.optional().meta({
    description: 'OTLP/HTTP receiver of metrics and traces: [telemetry.md](telemetry.md)',
    values: '`https://collector.example.com:4318`',
  }),
  OTEL_EXPORTER_OTLP_HEADERS: OtlpHeaders.optional().meta({
    description: 'sent with them, values percent-encoded',
    values: '`name=value,…`',
    secret: true,
  }),
  OTEL_TRACES_SAMPLER_ARG: Ratio.default(1).meta({
    description: 'share of the API calls that are traced, each with the run it creates',
    values: '0 to 1',
  }),
  OPERATOR_KEY: z.string().min(16, 'expected at least 16 characters').optional().meta({
    description: 'opens the operator calls, which create tenants',
    values: '16 characters or more',
    secret: true,
  }),
})

export type SettingName = keyof typeof SettingsSchema.shape
export const SETTING_NAMES = Object.keys(SettingsSchema.shape) as SettingName[]

export type Settings = Readonly<z.infer<typeof SettingsSchema>>

/**
 * @param source Worker bindings or `process.env`; only the known names are looked at, and an empty string is "not set"
 * @returns the settings, or one `NAME: what was expected` line per bad value (values are never echoed)
 */
export function parseSettings(
  source: Readonly<Record<string, unknown>>,
): { ok: true; settings: Settings } | { ok: false; problems: string[] } {
  const given: Record<string, unknown> = {}
  for (const name of SETTING_NAMES) {
    const value = source[name]
    if (value !== undefined && value !== '') given[name] = typeof value === 'string' ? value : String(value)
  }
  const parsed = SettingsSchema.safeParse(given)
  const lonely = aloneOf(given, 'Access__TeamDomain', 'Access__Audience')
  if (parsed.success && lonely !== null) return { ok: false, problems: [lonely] }
  if (parsed.success) return { ok: true, settings: Object.freeze(parsed.data) }
  return {
    ok: false,
    problems: parsed.error.issues.map(issue => `${String(issue.path[0])}: ${issue.message}`),
  }
}

/** Half of a sign-in would look like one that is on. */
function aloneOf(given: Readonly<Record<string, unknown>>, a: SettingName, b: SettingName): string | null {
  if ((given[a] === undefined) === (given[b] === undefined)) return null
  return given[a] === undefined
    ? `${a}: expected, because ${b} is set`
    : `${b}: expected, because ${a} is set`
}

/** The Access team whose word counts, and the application it has to be about. */
export interface AccessTeam {
  readonly issuer: string
  readonly audience: string
}

/** @returns null where nobody signs in through Cloudflare Access */
export function accessTeam(settings: Settings): AccessTeam | null {
  const { Access__TeamDomain: issuer, Access__Audience: audience } = settings
  return issuer === undefined || audience === undefined ? null : { issuer, audience }
}

/** Where telemetry goes, with what it needs to be let in there. */
export interface OtlpTarget {
  readonly endpoint: string
  readonly headers: Readonly<Record<string, string>>
}

/** @returns null where nobody asked for telemetry: then nothing is counted */
export function otlpTarget(settings: Settings): OtlpTarget | null {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_EXPORTER_OTLP_HEADERS: headers = {} } = settings
  return endpoint === undefined ? null : { endpoint, headers }
}

/** Whether new work may start for this tenant; running sessions always finish. */
export function runnersEnabled(settings: Settings, tenantSlug: string): boolean {
  return (
    settings.Features__SelfHostedRunnersEnabled && allowed(settings.SelfHosted__EnabledTenants, tenantSlug)
  )
}

export function relayEnabled(settings: Settings, tenantSlug: string): boolean {
  return (
    settings.Features__SelfHostedRelayEnabled && allowed(settings.SelfHosted__RelayEnabledTenants, tenantSlug)
  )
}

function allowed(list: readonly string[], tenantSlug: string): boolean {
  return list.length === 0 || list.includes(tenantSlug)
}
