import { type Config, readConfig, SETTING_NAMES } from '../../config.ts'
import { type Policy, readPolicy } from '../../policy.ts'
import { SettingsError } from '../../settings-error.ts'
import { unknownSettings } from '../../unknown-settings.ts'
import { type Check, fail, ok, warn } from '../examination.ts'

export interface Settings {
  readonly config: Config
  readonly policy: Policy
}

/** As the daemon reads them, so that what stops it is seen here too: the pool id's form, an address, a file. */
export function settingsCheck(env: Readonly<Record<string, string | undefined>>): Check<object, Settings> {
  return {
    name: 'settings',
    look() {
      try {
        const config = readConfig(env)
        const settings = { config, policy: readPolicy(config.RUNNER_POLICY_FILE) }
        const seen = `${config.CONTROL_PLANE_URL.href}, ${config.RUNNER_POOL_ID}, executor ${config.RUNNER_EXECUTOR}`
        const unknown = unknownSettings(env, SETTING_NAMES)
        if (unknown.length === 0) return ok(seen, settings)
        const hints = unknown.map(({ name, nearest }) => `${name} (${nearest}?)`).join(', ')
        return warn(`${seen}; not settings of a runner: ${hints}`, 'correct or remove them', settings)
      } catch (error) {
        if (!(error instanceof SettingsError)) throw error
        return fail(error.message, 'put these right first: the runner stops at once while one is wrong')
      }
    },
  }
}
