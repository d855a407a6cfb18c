import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { addressProblem, baseAddress } from '../protocol/address.ts'
import { isWellFormedSecret } from '../protocol/secrets.ts'
import { usage } from './failure.ts'

/**
 * Where the control plane is and who asks. Options come before the environment; a secret is only ever taken from the
 * environment or a file, because every process of the machine can read another's arguments.
 */
const Text = z
  .string()
  .trim()
  .transform(text => (text === '' ? null : text))
  .nullable()
  .default(null)

const Environment = z.object({
  CERTYN_URL: Text,
  CERTYN_API_KEY: Text,
  CERTYN_API_KEY_FILE: Text,
  CERTYN_ALLOW_HTTP: z.enum(['', '0', '1'], { error: 'expected 0 or 1' }).default('0'),
  HTTPS_PROXY: Text,
  NO_PROXY: Text,
})

/** Every setting's name. */
export const SETTING_NAMES: readonly string[] = Object.keys(Environment.shape)

export interface Settings {
  readonly url: URL
  readonly apiKey: string
  readonly httpsProxy: string | null
  readonly noProxy: string | null
}

export interface GivenOptions {
  readonly url?: string | undefined
  readonly apiKeyFile?: string | undefined
}

/** @throws CommandFailure that names the setting and never holds its value, where that is a secret */
export function readSettings(
  env: Readonly<Record<string, string | undefined>>,
  options: GivenOptions,
): Settings {
  const parsed = Environment.safeParse({ HTTPS_PROXY: env.https_proxy, NO_PROXY: env.no_proxy, ...env })
  if (!parsed.success) {
    const lines = parsed.error.issues.map(issue => `${issue.path.join('.')}: ${issue.message}`)
    throw usage(lines.join('\n'))
  }
  const given = parsed.data
  return Object.freeze({
    url: addressOf(options.url ?? given.CERTYN_URL, {
      from: options.url === undefined ? 'CERTYN_URL' : '--url',
      allowHttp: given.CERTYN_ALLOW_HTTP === '1',
    }),
    apiKey: apiKeyOf(given, options.apiKeyFile),
    httpsProxy: proxyOf(given.HTTPS_PROXY),
    noProxy: given.NO_PROXY,
  })
}

function addressOf(text: string | null, { from, allowHttp }: { from: string; allowHttp: boolean }): URL {
  if (text === null) throw usage('CERTYN_URL: is required: the address of the control plane (or --url)')
  const problem = addressProblem(text, { name: 'CERTYN_ALLOW_HTTP', isSet: allowHttp })
  if (problem !== null) throw usage(`${from}: ${problem}`)
  return baseAddress(text)
}

function apiKeyOf(given: z.output<typeof Environment>, optionFile: string | undefined): string {
  const fromFile = optionFile ?? (given.CERTYN_API_KEY === null ? given.CERTYN_API_KEY_FILE : null)
  const setting =
    optionFile !== undefined ? '--api-key-file' : fromFile === null ? 'CERTYN_API_KEY' : 'CERTYN_API_KEY_FILE'
  const key = fromFile === null ? given.CERTYN_API_KEY : contentOf(fromFile, setting)
  if (key === null)
    throw usage('CERTYN_API_KEY: is required: an API key (or CERTYN_API_KEY_FILE with its path)')
  if (isWellFormedSecret('apiKey', key)) return key
  throw usage(`${setting}: holds no API key: one begins with cty_key_, and its end tells whether it is whole`)
}

function contentOf(file: string, setting: string): string {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch (error) {
    throw usage(`${setting}: cannot be read: ${error instanceof Error ? error.message : String(error)}`)
  }
}

function proxyOf(text: string | null): string | null {
  if (text === null || /^https?:$/.test(URL.parse(text)?.protocol ?? '')) return text
  throw usage('HTTPS_PROXY: expected http://host:port or https://host:port')
}

/** Anything shaped like one of this API's secrets, whole or cut. */
const SECRET = /\bcty_(key|reg|run|view|link|web)_[0-9A-Za-z]+/g

/** For whatever is said on the error stream: an argument is echoed there, and it may be a secret in the wrong place. */
export function redacted(text: string): string {
  return text.replaceAll(SECRET, 'cty_$1_[redacted]')
}
