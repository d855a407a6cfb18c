import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { resolve } from 'node:path'
import { z } from 'zod'
import { addressProblem, baseAddress } from '../protocol/address.ts'
import { PoolId } from '../protocol/ids.ts'
import { SLOT_LIMIT } from '../protocol/limits.ts'
import { OtlpEndpoint, OtlpHeaders } from '../protocol/otlp.ts'
import { Labels, Name } from '../protocol/text.ts'
import { LOG_LEVELS, reasonOf } from './log.ts'
import { SettingsError } from './settings-error.ts'

/** Every setting of the runner, parsed once. A wrong one stops the process; a secret is never echoed. */

/** Folders that others need: the state directory is shut to everybody but its owner. */
const SYSTEM_FOLDERS: ReadonlySet<string> = new Set(
  (
    '/ /bin /boot /dev /dev/shm /etc /home /lib /lib64 /opt /proc /run /sbin /srv /sys /tmp /usr /usr/local ' +
    '/var /var/cache /var/lib /var/log /var/run /var/tmp'
  ).split(' '),
)

const OptionalText = z
  .string()
  .trim()
  .transform(text => (text === '' ? null : text))
  .nullable()
  .default(null)

function whole(min: number, max: number, unit: string) {
  const expected = `expected a whole number of ${unit} from ${min} to ${max}`
  return z
    .string()
    .trim()
    .regex(/^\d+$/, expected)
    .transform(Number)
    .refine(value => value >= min && value <= max, expected)
    .meta({ values: `${min} to ${max}` })
}

const LabelList = z
  .string()
  .transform((text, context) => {
    const labels: Record<string, string> = {}
    for (const part of text.split(',').map(one => one.trim())) {
      if (part === '') continue
      const at = part.indexOf('=')
      if (at < 1) {
        context.addIssue('expected k=v,k2=v2')
        return z.NEVER
      }
      const key = part.slice(0, at).trim()
      if (Object.hasOwn(labels, key)) {
        context.addIssue(`the label ${key} is given twice`)
        return z.NEVER
      }
      labels[key] = part.slice(at + 1).trim()
    }
    return labels
  })
  .pipe(Labels)

const ProxyUrl = OptionalText.refine(
  text => text === null || /^https?:$/.test(URL.parse(text)?.protocol ?? ''),
  'expected http://host:port or https://host:port',
)

const DockerHost = z
  .string()
  .trim()
  .regex(/^unix:\/\/\/.+/, 'expected a local unix socket, for example unix:///var/run/docker.sock')
  .transform(text => text.slice('unix://'.length))

/** What each says of itself is what docs/settings.md says of it. */
export const EnvironmentSchema = z.object({
  CONTROL_PLANE_URL: z.string({ error: 'is required: the address of the control plane' }).trim().meta({
    description:
      'address of the control plane; `http://` only for this machine or with `RUNNER_ALLOW_HTTP=1`',
    values: '`https://` address',
  }),
  RUNNER_POOL_ID: z
    .string({ error: 'is required: the id of the pool to join' })
    .trim()
    .pipe(PoolId)
    .meta({ description: 'pool to join', values: '`pol_…`' }),
  REGISTRATION_TOKEN: OptionalText.meta({
    description: 'token of that pool; not needed after the first start',
    values: '`cty_reg_…`',
    initial: 'required once',
    secret: true,
  }),
  REGISTRATION_TOKEN_FILE: OptionalText.meta({
    description: 'file that holds it, in its place; read anew at every attempt to register',
    values: 'a path',
    initial: 'required once',
  }),
  RUNNER_NAME: z.string().trim().default(hostname()).pipe(Name).meta({
    description: 'unique among the online runners of the pool; once changed, its sessions end',
    values: '1 to 100 characters',
    initial: 'host name',
  }),
  MAX_CONCURRENCY: whole(1, SLOT_LIMIT, 'sessions').default(1).describe('sessions at a time'),
  RUNNER_STATE_DIR: z
    .string()
    .trim()
    .regex(/^\//, 'expected an absolute path')
    .transform(path => resolve(path))
    .refine(path => !SYSTEM_FOLDERS.has(path), 'expected a folder of its own, such as /var/lib/certyn-runner')
    .default('/var/lib/certyn-runner')
    .meta({ description: 'credential, sessions, lock', values: 'an absolute path' }),
  RUNNER_LABELS: LabelList.default({}).meta({
    description: 'runs that ask for labels go only to runners that have them',
    values: '`k=v,k2=v2`',
  }),
  RUNNER_EXECUTOR: z
    .enum(['docker', 'host'], { error: 'expected docker or host' })
    .default('docker')
    .describe('`host` runs commands as plain processes, without isolation'),
  RUNNER_POLICY_FILE: OptionalText.meta({
    description: 'what this host allows, and the control plane cannot widen; its fields are below',
    values: 'the path of a JSON file',
  }),
  RUNNER_PULL_POLICY: z
    .enum(['always', 'if_not_present', 'never'], { error: 'expected always, if_not_present or never' })
    .default('if_not_present')
    .describe('when an image is pulled'),
  RUNNER_REGISTRY_AUTH_FILE: OptionalText.meta({
    description: 'logins for private registries, in the form of Docker’s `config.json`',
    values: 'a path',
  }),
  RUNNER_JOB_HTTPS_PROXY: ProxyUrl.meta({
    description: 'proxy handed to jobs',
    values: '`http://` or `https://` address',
  }),
  RUNNER_JOB_NO_PROXY: OptionalText.meta({
    description: 'what jobs reach without it',
    values: 'host names with commas between them',
  }),
  RUNNER_JOB_CA_FILE: OptionalText.superRefine((file, context) => {
    const problem = file === null ? null : fileProblem(file, text => void new X509Certificate(text))
    if (problem !== null)
      context.addIssue(`expected the path of a readable PEM file with a certificate: ${problem}`)
  }).meta({
    description: 'authorities that jobs trust beside the usual ones',
    values: 'the path of a PEM file',
  }),
  // The platform reads it before this program runs, and ignores what it cannot read.
  NODE_EXTRA_CA_CERTS: OptionalText.superRefine((file, context) => {
    const problem = file === null ? null : fileProblem(file)
    if (problem !== null) context.addIssue(`expected the path of a readable PEM file: ${problem}`)
  }).meta({
    description: 'authorities that the runner itself trusts beside the usual ones',
    values: 'the path of a PEM file',
  }),
  RUNNER_STOP_GRACE_SECONDS: whole(0, 3600, 'seconds').default(10).describe('between SIGTERM and SIGKILL'),
  RUNNER_MIN_DISK_MB: whole(0, 1_000_000_000, 'MB')
    .default(1024)
    .describe('below this much free disk the runner takes no new work'),
  RUNNER_LOG_CAP_MB: whole(1, 1_000_000, 'MB').default(256).describe('output kept per session'),
  RUNNER_SESSION_DISK_MB: whole(1, 1_000_000_000, 'MB')
    .nullable()
    .default(null)
    .describe('size of a session’s folder; one that cannot be looked into counts as too large'),
  RUNNER_METRICS_PORT: whole(1, 65_535, 'a port')
    .nullable()
    .default(null)
    .describe('serves the same numbers to Prometheus at `http://127.0.0.1:<port>/metrics`'),
  RUNNER_ALLOW_HTTP: z
    .enum(['0', '1'], { error: 'expected 0 or 1' })
    .default('0')
    .describe(
      '`1` takes a control plane on another machine by plain HTTP: its secrets can be read on the way',
    ),
  DOCKER_HOST: DockerHost.default('/var/run/docker.sock').meta({
    description: 'the Engine',
    values: 'a local unix socket',
    initial: '`unix:///var/run/docker.sock`',
  }),
  HTTPS_PROXY: ProxyUrl.meta({
    description: 'the runner’s own way out; `https_proxy` is the same',
    values: '`http://` or `https://` address',
  }),
  NO_PROXY: OptionalText.meta({
    description: 'what it reaches without the proxy; `no_proxy` is the same',
    values: 'host names with commas between them',
  }),
  OTEL_EXPORTER_OTLP_ENDPOINT: OtlpEndpoint.nullable().default(null).meta({
    description: 'OTLP/HTTP receiver of the runner’s metrics and traces: [telemetry.md](telemetry.md)',
    values: '`http://localhost:4318`',
  }),
  OTEL_EXPORTER_OTLP_HEADERS: OtlpHeaders.default({}).meta({
    description: 'sent with them, values percent-encoded',
    values: '`name=value,…`',
    secret: true,
  }),
  LOG_LEVEL: z
    .enum(LOG_LEVELS, { error: `expected one of ${LOG_LEVELS.join(', ')}` })
    .default('info')
    .describe('the least that is logged'),
})

const Environment = EnvironmentSchema.superRefine((env, context) => {
  const allowHttp = { name: 'RUNNER_ALLOW_HTTP', isSet: env.RUNNER_ALLOW_HTTP === '1' }
  const problem = addressProblem(env.CONTROL_PLANE_URL, allowHttp)
  if (problem !== null) context.addIssue({ code: 'custom', path: ['CONTROL_PLANE_URL'], message: problem })
})

/** Every setting's name. */
export const SETTING_NAMES: readonly string[] = Object.keys(EnvironmentSchema.shape)

export type Config = Readonly<
  Omit<z.infer<typeof Environment>, 'CONTROL_PLANE_URL'> & {
    CONTROL_PLANE_URL: URL
    RUNNER_NAME_IS_DEFAULT: boolean
  }
>

/**
 * An empty variable counts as not set, because `docker run -e NAME` passes one.
 * @throws SettingsError with one line per wrong variable: its name and what was expected
 */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value?.trim()))
  const lower = { HTTPS_PROXY: given.https_proxy, NO_PROXY: given.no_proxy }
  const present = Object.fromEntries(Object.entries({ ...lower, ...given }).filter(([, value]) => value))
  const parsed = Environment.safeParse(present)
  if (!parsed.success) {
    const lines = parsed.error.issues.map(issue => `${issue.path.map(String).join('.')}: ${issue.message}`)
    throw new SettingsError(lines.join('\n'))
  }
  return Object.freeze({
    ...parsed.data,
    // A credential is known by the address it was given for.
    CONTROL_PLANE_URL: baseAddress(parsed.data.CONTROL_PLANE_URL),
    RUNNER_NAME_IS_DEFAULT: present.RUNNER_NAME === undefined,
  })
}

/** @returns why the file is of no use; null when it can be read and passes the check */
function fileProblem(path: string, check: (text: string) => void = () => undefined): string | null {
  try {
    check(readFileSync(path, 'utf8'))
    return null
  } catch (error) {
    return reasonOf(error)
  }
}

/** Read anew on every registration attempt, so that a token can be put right while the runner waits. */
export function readRegistrationToken(config: Config): string | null {
  if (config.REGISTRATION_TOKEN !== null) return config.REGISTRATION_TOKEN
  if (config.REGISTRATION_TOKEN_FILE === null) return null
  try {
    return readFileSync(config.REGISTRATION_TOKEN_FILE, 'utf8').trim()
  } catch (error) {
    throw new SettingsError(`REGISTRATION_TOKEN_FILE: cannot be read: ${reasonOf(error)}`)
  }
}
