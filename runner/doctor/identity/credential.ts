import { isWellFormedSecret } from '../../../protocol/secrets.ts'
import { changesSince, nameFor } from '../../daemon/runner-identity.ts'
import { SettingsError } from '../../settings-error.ts'
import { readCredential, type StoredCredential } from '../../state/state-directory.ts'
import { type Check, fail, ok, warn } from '../examination.ts'
import type { Settings } from '../host/settings.ts'
import type { StatePlace } from '../host/state-directory.ts'

export interface Credential {
  readonly stored: StoredCredential | null
  /** Whether a runner started now would speak with it. */
  readonly isUsed: boolean
}

const DAY_MS = 86_400_000

/** What lies in the state directory, and whether it is for what is configured. @param engineId null when not known */
export function credentialCheck(
  engineId: string | null,
): Check<{ settings: Settings; state: StatePlace }, Credential> {
  return {
    name: 'credential',
    look({ settings: { config }, state: { path } }) {
      let stored: StoredCredential | null
      try {
        stored = readCredential(path)
      } catch (error) {
        if (!(error instanceof SettingsError)) throw error
        return fail('there is one, and it cannot be used', error.message)
      }
      if (stored === null)
        return ok('none yet: the runner has not registered here', { stored, isUsed: false })
      if (!isWellFormedSecret('runnerCredential', stored.credential)) {
        const remedy = `remove ${path}/credential.json and set REGISTRATION_TOKEN to a new token`
        return fail('damaged: its checksum is wrong', remedy)
      }
      const here = engineId ?? stored.engine_id
      const changes = changesSince(stored, config, nameFor(config, stored, here), here)
      if (changes.length === 0) {
        const days = Math.floor((Date.now() - stored.obtained_at_ms) / DAY_MS)
        const engine = engineId === null ? '; the Engine it is for cannot be compared' : ''
        return ok(`of ${stored.name} (${stored.runner_id}), ${days} days old${engine}`, {
          stored,
          isUsed: true,
        })
      }
      const list = changes.map(({ what, before, now }) => `${what} was ${before} and is ${now}`).join(', ')
      return warn(
        `that of ${stored.name} (${stored.runner_id}) was given for something else: ${list}`,
        'the runner registers anew when it starts; to remain what it was, give these back',
        { stored, isUsed: false },
      )
    },
  }
}
