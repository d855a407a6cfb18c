import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { parseJson } from '../../../protocol/json.ts'
import { type Log, reasonOf } from '../../log.ts'
import { SettingsError } from '../../settings-error.ts'

/** Registry credentials in the form of Docker's config.json. */
const Auth = z.object({
  auth: z.string().optional(),
  username: z.string().optional(),
  password: z.string().optional(),
  identitytoken: z.string().optional(),
})
const AuthFile = z.object({
  auths: z.record(z.string(), Auth).default({}),
  credHelpers: z.record(z.string(), z.string()).optional(),
  credsStore: z.string().optional(),
})

const DOCKER_HUB = 'docker.io'
const DOCKER_HUB_KEYS = [
  'https://index.docker.io/v1/',
  'index.docker.io',
  'docker.io',
  'registry-1.docker.io',
]

interface RegistryCredential {
  readonly serveraddress: string
  readonly username?: string
  readonly password?: string
  readonly identitytoken?: string
}
export type RegistryAuth = (image: string) => RegistryCredential | undefined

/** @throws SettingsError naming the file; its content is never part of the message */
export function readRegistryAuth(file: string | null): RegistryAuth {
  if (file === null) return () => undefined
  const where = `RUNNER_REGISTRY_AUTH_FILE: ${file}`
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new SettingsError(`${where} cannot be read: ${reasonOf(error)}`)
  }
  const json = parseJson(text)
  const parsed = AuthFile.safeParse(json.ok ? json.value : undefined)
  if (!parsed.success) throw new SettingsError(`${where}: expected the form of Docker's config.json`)
  if (parsed.data.credsStore !== undefined || parsed.data.credHelpers !== undefined) {
    throw new SettingsError(
      `${where}: credential helpers are programs this runner does not have; use "auths" entries`,
    )
  }
  const byRegistry = new Map<string, RegistryCredential>()
  for (const [key, auth] of Object.entries(parsed.data.auths)) {
    byRegistry.set(registryOfKey(key), credentialOf(key, auth, where))
  }
  return image => byRegistry.get(registryOfImage(image))
}

/**
 * Read anew for each pull: the logins of some registries last for hours, and whoever renews them writes this file.
 * What is of no use then, perhaps half written, leaves the logins as they were.
 * @throws SettingsError at the start
 */
export function renewedRegistryAuth(file: string | null, log: Pick<Log, 'warn'>): RegistryAuth {
  let known = readRegistryAuth(file)
  return image => {
    try {
      known = readRegistryAuth(file)
    } catch (error) {
      log.warn(
        { error: reasonOf(error) },
        'the registry logins are those that were read before: mend the file',
      )
    }
    return known(image)
  }
}

/** The part before the first slash names a registry only if it could not be a Docker Hub user. */
export function registryOfImage(image: string): string {
  const first = image.split('/')[0] ?? ''
  const isRegistry = image.includes('/') && (/[.:]/.test(first) || first === 'localhost')
  return isRegistry ? first : DOCKER_HUB
}

function registryOfKey(key: string): string {
  if (DOCKER_HUB_KEYS.includes(key)) return DOCKER_HUB
  return key.replace(/^https?:\/\//, '').split('/')[0] ?? key
}

function credentialOf(key: string, auth: z.infer<typeof Auth>, where: string): RegistryCredential {
  if (auth.identitytoken) return { serveraddress: key, identitytoken: auth.identitytoken }
  if (auth.username !== undefined && auth.password !== undefined) {
    return { serveraddress: key, username: auth.username, password: auth.password }
  }
  const pair = Buffer.from(auth.auth ?? '', 'base64').toString('utf8')
  const colon = pair.indexOf(':')
  if (colon < 1)
    throw new SettingsError(`${where}: the entry for ${key} has neither auth nor username and password`)
  return { serveraddress: key, username: pair.slice(0, colon), password: pair.slice(colon + 1) }
}
