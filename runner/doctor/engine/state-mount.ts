import { hostPathOf, ownContainerId } from '../../executors/docker/own-container.ts'
import { SettingsError } from '../../settings-error.ts'
import { type Check, fail, ok } from '../examination.ts'
import type { StatePlace } from '../host/state-directory.ts'
import type { Engine } from './engine.ts'

/** @returns what the state directory is called on the Engine's host, where session folders are mounted from */
export const stateMount: Check<{ state: StatePlace; engine: Engine }, string> = {
  name: 'state mount',
  async look({ state, engine: { docker } }, signal) {
    const own = ownContainerId()
    try {
      const path = await hostPathOf(docker, state.path, own, signal)
      return ok(own === null ? `${path}, as here` : `${path} on the Engine's host`, path)
    } catch (error) {
      if (!(error instanceof SettingsError)) throw error
      return fail('jobs could never see it', error.message)
    }
  },
}
