import { parseArgs, parseEnv } from 'node:util'
import { z } from 'zod'
import { parseSettings, SETTING_NAMES, type SettingName } from '../../durable-objects/settings.ts'

/**
 * What `npm run deploy` was asked to do, checked before anything is touched. Settings come from a file outside version
 * control and from the environment, which wins. Secrets come from the environment alone.
 */
export interface DeployOptions {
  readonly dryRun: boolean
  /** Settings of the Worker as given, under the names it knows; without the secrets. */
  readonly vars: Readonly<Record<string, string>>
  readonly secrets: Readonly<Record<string, string>>
  readonly features: { readonly runners: boolean; readonly relay: boolean }
  readonly target: Target
}

export type Parsed =
  | { readonly ok: true; readonly options: DeployOptions }
  | { readonly ok: false; readonly problems: readonly string[] }

export const DEFAULT_SETTINGS_FILE = 'deploy.env'

export const USAGE = `Usage: npm run deploy [-- [--dry-run] [--settings deploy.env]]

  --dry-run   say what would be done and change nothing; works without an account too
  --settings  file of NAME=value lines, outside version control (deploy.env, where there is one)

docs/settings.md lists the settings. OPERATOR_KEY, OTEL_EXPORTER_OTLP_HEADERS and CLOUDFLARE_API_TOKEN come from the
environment only.`

/** Cloudflare's limit for a bucket's name is the narrowest of Worker, database and bucket. */
const Name = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/, 'expected 3 to 63 characters of a-z 0-9 -, no - at either end')

const Domain = z
  .string()
  .max(253)
  .regex(
    /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$/,
    'expected a host name such as runners.acme.example',
  )

const Address = z.string().transform((text, context) => {
  const url = URL.parse(text)
  const isLocal = url?.protocol === 'http:' && /^(?:127\.0\.0\.1|localhost|\[::1\])$/.test(url.hostname)
  if (url !== null && url.href === `${url.origin}/` && (url.protocol === 'https:' || isLocal))
    return url.origin
  context.addIssue('expected an https:// address without a path')
  return z.NEVER
})

const CHECK_SECONDS = 'expected whole seconds from 1 to 900'

/** What each says of itself is what docs/settings.md says of it. */
export const TargetSchema = z.object({
  Deploy__Name: Name.optional().meta({
    description: 'name of the Worker, the database and the bucket; another one is another control plane',
    values: '3 to 63 characters of `a-z 0-9 -`',
    initial: '`certyn-self-hosted-runners`',
  }),
  Deploy__Domain: Domain.optional().meta({
    description: 'host name of a zone in the account; `workers.dev` is then switched off',
    values: 'a host name',
  }),
  Deploy__Address: Address.optional().meta({
    description: 'address to check and to print, where the Worker is reached by another than its own',
    values: '`https://` address without a path',
    initial: 'what was deployed',
  }),
  Deploy__Location: z
    .enum(['weur', 'eeur', 'apac', 'oc', 'wnam', 'enam'], 'expected weur, eeur, apac, oc, wnam or enam')
    .optional()
    .meta({ description: 'where database and bucket are made', initial: 'near where you are' }),
  // A new address may need some minutes until its certificate is everywhere.
  Deploy__CheckSeconds: z
    .string()
    .regex(/^[0-9]+$/, CHECK_SECONDS)
    .transform(Number)
    .refine(seconds => seconds >= 1 && seconds <= 900, CHECK_SECONDS)
    .default(180)
    .meta({
      description: 'how long the deployed address may need until it answers as it should',
      values: '1 to 900',
    }),
  CLOUDFLARE_ACCOUNT_ID: z
    .string()
    .regex(/^[0-9a-f]{32}$/, 'expected the 32 hexadecimal digits of an account’s id')
    .optional()
    .meta({
      description: 'account to deploy to',
      values: '32 hexadecimal digits',
      initial: 'the only account',
    }),
})
export type Target = Readonly<z.infer<typeof TargetSchema>>

export const TARGET_NAMES = Object.keys(TargetSchema.shape)
/** Names that can only be meant for a deployment, so that a typo is noticed. */
const OWN_NAMES = /^(?:Features|SelfHosted|Docker|RateLimits|Access|Deploy)(?:__|:)/
const NEVER_IN_A_FILE = /^CLOUDFLARE_(?:API_TOKEN|API_KEY)$/

type Named = Readonly<Record<string, string | undefined>>

export interface Sources {
  readonly args: readonly string[]
  readonly environment: Named
  /**
   * @param named undefined for deploy.env, which need not be there
   * @returns the settings file's text, or null where there is none
   * @throws where there is one that cannot be read
   */
  readonly readFile: (named: string | undefined) => string | null
  /** Settings that are secrets: given to the Worker as such, and never in a file. */
  readonly secretNames: readonly SettingName[]
}

/** @returns one line per mistake, each naming the flag or the setting; values are never echoed */
export function parseDeployOptions(sources: Sources): Parsed {
  const problems: string[] = []
  const flags = parseFlags(sources.args, problems)
  const file = settingsFile(sources, flags.settings, problems)
  problems.push(...unknownNames(Object.keys(sources.environment).filter(name => OWN_NAMES.test(name))))

  const given = (name: string) => givenIn(sources.environment, name) ?? givenIn(file, name)
  const settings = Object.fromEntries(SETTING_NAMES.map(name => [name, given(name)]))
  const parsed = parseSettings(settings)
  if (!parsed.ok) problems.push(...parsed.problems)
  const target = TargetSchema.safeParse(Object.fromEntries(TARGET_NAMES.map(name => [name, given(name)])))
  if (!target.success)
    problems.push(...target.error.issues.map(issue => `${String(issue.path[0])}: ${issue.message}`))
  if (problems.length > 0 || !parsed.ok || !target.success) return { ok: false, problems }
  const isSecret = (name: string) => sources.secretNames.some(secret => secret === name)
  return {
    ok: true,
    options: {
      dryRun: flags['dry-run'] ?? false,
      vars: definedOf(settings, name => !isSecret(name)),
      secrets: definedOf(settings, isSecret),
      features: {
        runners: parsed.settings.Features__SelfHostedRunnersEnabled,
        relay: parsed.settings.Features__SelfHostedRelayEnabled,
      },
      target: Object.freeze(target.data),
    },
  }
}

function parseFlags(args: readonly string[], problems: string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: { 'dry-run': { type: 'boolean' }, settings: { type: 'string' } },
    }).values
  } catch (error) {
    problems.push(error instanceof Error ? error.message : String(error))
    return {}
  }
}

/** The file is for this command alone, so every name in it has to be known. */
function settingsFile(
  { readFile, secretNames }: Sources,
  named: string | undefined,
  problems: string[],
): Named {
  const name = named ?? DEFAULT_SETTINGS_FILE
  let text: string | null
  try {
    text = readFile(named)
  } catch (error) {
    problems.push(`${name} cannot be read: ${error instanceof Error ? error.message : String(error)}`)
    return {}
  }
  if (text === null) {
    if (named !== undefined) problems.push(`--settings: there is no file ${name}`)
    return {}
  }
  const file = parseEnv(text)
  const secret = Object.keys(file).filter(
    key => NEVER_IN_A_FILE.test(key) || secretNames.some(one => one === key),
  )
  problems.push(...secret.map(key => `${key}: a secret is not read from ${name}; give it in the environment`))
  problems.push(...unknownNames(Object.keys(file).filter(key => !secret.includes(key))))
  return file
}

function unknownNames(names: readonly string[]): string[] {
  const known: ReadonlySet<string> = new Set([...SETTING_NAMES, ...TARGET_NAMES])
  return names
    .filter(name => !known.has(name.replaceAll(':', '__')))
    .map(name => `${name}: is not a setting of this version`)
}

/** `A:B` is how the settings are written in documents, `A__B` how a shell can hold them; both name the same. */
function givenIn(source: Named, name: string): string | undefined {
  return source[name] || source[name.replaceAll('__', ':')] || undefined
}

function definedOf(settings: Named, keep: (name: string) => boolean): Record<string, string> {
  const entries = Object.entries(settings).flatMap(([name, value]) =>
    value !== undefined && keep(name) ? [[name, value] as const] : [],
  )
  return Object.fromEntries(entries)
}
