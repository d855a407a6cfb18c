import path from 'node:path'
import { parseArgs } from 'node:util'
import { parseSettings, SETTING_NAMES } from '../../durable-objects/settings.ts'

/** What `npm run control-plane` was asked to do, checked before anything is started. */
export interface ControlPlaneOptions {
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
  readonly stateDir: string
  /** Settings as given, under the names the Worker knows. */
  readonly vars: Readonly<Record<string, string>>
  readonly warnings: readonly string[]
}

export type Parsed =
  | { readonly ok: true; readonly options: ControlPlaneOptions }
  | { readonly ok: false; readonly problems: readonly string[] }

export const USAGE = `Usage: npm run control-plane -- [--port 8787] [--state-dir DIR] [--host 127.0.0.1]

  --port       port to listen on, 0 for any free one (8787)
  --state-dir  folder that keeps the database and the objects (.certyn/control-plane)
  --host       address to listen on (127.0.0.1); another one exposes the API without TLS

Settings come from the environment, for example OPERATOR_KEY and Features__SelfHostedRunnersEnabled=true
(Features:SelfHostedRunnersEnabled is the same name). docs/settings.md lists them.`

const DEFAULT_PORT = 8787
const DEFAULT_STATE_DIR = path.join('.certyn', 'control-plane')
/** Names that can only be meant for the control plane, so that a typo is noticed. */
const OWN_NAMES = /^(?:Features|SelfHosted|Docker|RateLimits|Access)(?:__|:)/

/**
 * @param base folder that a relative state folder is resolved against
 * @returns one line per mistake, each naming the flag or the setting; values are never echoed
 */
export function parseOptions(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
  base: string,
): Parsed {
  const problems: string[] = []
  const flags = parseFlags(args, problems)
  const port = Number(flags.port ?? DEFAULT_PORT)
  if (!/^[0-9]+$/.test(flags.port ?? '0') || port > 65_535) problems.push('--port: expected 0 to 65535')
  if (flags.host === '') problems.push('--host: expected an address, for example 127.0.0.1')
  if (flags['state-dir'] === '') problems.push('--state-dir: expected a folder')

  const vars = settingsOf(environment)
  const settings = parseSettings(vars)
  if (!settings.ok) problems.push(...settings.problems)
  if (problems.length > 0) return { ok: false, problems }
  return {
    ok: true,
    options: {
      host: flags.host ?? '127.0.0.1',
      port,
      stateDir: path.resolve(base, flags['state-dir'] ?? DEFAULT_STATE_DIR),
      vars,
      warnings: [
        ...unknownNames(environment),
        ...(vars.OPERATOR_KEY === undefined ? ['OPERATOR_KEY is not set: no tenant can be created'] : []),
      ],
    },
  }
}

function parseFlags(args: readonly string[], problems: string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: { port: { type: 'string' }, host: { type: 'string' }, 'state-dir': { type: 'string' } },
    }).values
  } catch (error) {
    problems.push(error instanceof Error ? error.message : String(error))
    return {}
  }
}

/** `A:B` is how the settings are written in documents, `A__B` how a shell can hold them; both name the same. */
function settingsOf(environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const vars: Record<string, string> = {}
  for (const name of SETTING_NAMES) {
    const value = environment[name] || environment[name.replaceAll('__', ':')]
    if (value !== undefined && value !== '') vars[name] = value
  }
  return vars
}

function unknownNames(environment: Readonly<Record<string, string | undefined>>): string[] {
  const known: ReadonlySet<string> = new Set(SETTING_NAMES)
  return Object.keys(environment)
    .filter(name => OWN_NAMES.test(name) && !known.has(name.replaceAll(':', '__')))
    .map(name => `${name} is not a setting of this version and is ignored`)
}
