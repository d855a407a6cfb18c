import type { ImageFacts } from '../../executors/docker/images.ts'
import { Images } from '../../executors/docker/images.ts'
import { readRegistryAuth } from '../../executors/docker/registry-auth.ts'
import { refusalOf } from '../../policy.ts'
import { SettingsError } from '../../settings-error.ts'
import type { Engine } from '../engine/engine.ts'
import { type Check, fail, ok } from '../examination.ts'
import type { Settings } from '../host/settings.ts'

const REMEDIES: Readonly<Record<string, string>> = {
  image_not_found: 'check the name and the tag, or pull it by hand: docker pull',
  image_auth: 'set RUNNER_REGISTRY_AUTH_FILE to a config.json with a login for this registry',
  network_unreachable:
    "the Engine, not the runner, pulls: check its way out and its proxy (the daemon's own settings)",
  disk_full: "free space on the Engine's disk (docker system df)",
}
const OTHERWISE = 'pull it by hand to see more: docker pull'

/** Obtained as for a job: by the same policy, with the same logins. */
export function jobImageCheck(reference: string): Check<{ settings: Settings; engine: Engine }, ImageFacts> {
  return {
    name: 'job image',
    async look({ settings: { config, policy }, engine: { docker } }, signal) {
      const wanted = {
        image: reference,
        command: null,
        env: {},
        timeout_seconds: 1,
        resources: {},
        stream: false,
      }
      const refusal = refusalOf(policy, wanted)
      if (refusal !== null) return fail(refusal, 'name an image that RUNNER_POLICY_FILE allows')
      try {
        const images = new Images(
          docker,
          config.RUNNER_PULL_POLICY,
          readRegistryAuth(config.RUNNER_REGISTRY_AUTH_FILE),
        )
        const image = await images.obtain(reference, { signal, onPulling: () => undefined })
        if ('id' in image) return ok(`${reference} is ${image.digest}`, image)
        const { reason, message = reason } = image.exit
        return fail(`${reference}: ${message}`, REMEDIES[reason] ?? OTHERWISE)
      } catch (error) {
        if (!(error instanceof SettingsError)) throw error
        return fail(error.message, 'put this setting right')
      }
    },
  }
}
