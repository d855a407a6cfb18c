import { z } from 'zod'

/** What the agent is told by its environment and its arguments, parsed once. */

const WebAddress = z
  .string()
  .trim()
  .refine(
    text => /^https?:$/.test(URL.parse(text)?.protocol ?? ''),
    'expected an address that begins with http:// or https://',
  )

/** What each says of itself is what docs/settings.md says of it. */
export const EnvironmentSchema = z.object({
  CERTYN_START_URL: WebAddress.nullable().default(null).meta({
    description: 'page to visit where the run has no command',
    values: '`http://` or `https://` address',
  }),
  CERTYN_STREAM_SOCKET: z
    .string()
    .regex(/^\//, 'expected an absolute path')
    .default('/certyn/stream.sock')
    .meta({ description: 'where the agent listens for the runner', values: 'an absolute path' }),
  CERTYN_ARTIFACTS_DIR: z.string().regex(/^\//, 'expected an absolute path').nullable().default(null).meta({
    description: 'where files are left to be uploaded; the runner sets it',
    values: 'an absolute path',
  }),
  CERTYN_CHROMIUM: z
    .string()
    .min(1, 'expected a program')
    .default('chromium')
    .meta({ description: 'the browser', values: 'a path, or a name to look up' }),
  NODE_EXTRA_CA_CERTS: z.string().nullable().default(null).meta({
    description:
      'authorities that the browser and the command trust beside the usual ones; set by `RUNNER_JOB_CA_FILE`',
    values: 'the path of a PEM file',
  }),
})

/** What the container is for: the run's own command, or one look at one page. */
export type Task =
  | { readonly type: 'command'; readonly argv: readonly [string, ...string[]] }
  | { readonly type: 'visit'; readonly url: string }

export interface Settings {
  readonly task: Task
  readonly streamSocket: string
  /** Null where nobody collects files. */
  readonly artifactsDir: string | null
  /** The browser's program: a path, or a name to look up. */
  readonly chromium: string
  /** A file of authorities that the run's programs trust beside the usual ones. */
  readonly extraCertificates: string | null
}

const NOTHING_TO_DO =
  'nothing to do: give the run a command, or set CERTYN_START_URL to the address of a page to visit'

/** @returns the settings, or a sentence that names what is wrong and what to set */
export function parseSettings(
  env: Readonly<Record<string, string | undefined>>,
  argv: readonly string[],
): { readonly ok: true; readonly settings: Settings } | { readonly ok: false; readonly message: string } {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''))
  const parsed = EnvironmentSchema.safeParse(given)
  if (!parsed.success) {
    const message = parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ')
    return { ok: false, message }
  }
  const task = taskOf(argv, parsed.data.CERTYN_START_URL)
  if (task === null) return { ok: false, message: NOTHING_TO_DO }
  const settings: Settings = {
    task,
    streamSocket: parsed.data.CERTYN_STREAM_SOCKET,
    artifactsDir: parsed.data.CERTYN_ARTIFACTS_DIR,
    chromium: parsed.data.CERTYN_CHROMIUM,
    extraCertificates: parsed.data.NODE_EXTRA_CA_CERTS,
  }
  return { ok: true, settings: Object.freeze(settings) }
}

function taskOf([program, ...args]: readonly string[], startUrl: string | null): Task | null {
  if (program !== undefined) return { type: 'command', argv: [program, ...args] }
  return startUrl === null ? null : { type: 'visit', url: startUrl }
}
