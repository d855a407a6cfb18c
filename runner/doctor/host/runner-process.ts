import { readHealth } from '../../commands/health.ts'
import { type Check, ok, warn } from '../examination.ts'
import type { StatePlace } from './state-directory.ts'

/** Where a daemon is alive, it has most likely found the trouble already. */
export const runnerProcess: Check<{ state: StatePlace }, null> = {
  name: 'runner',
  look({ state }) {
    const health = readHealth(state.path)
    if (health === null) return ok('none is running in this state directory')
    if (health.healthy) return ok('running, and healthy')
    return warn(`running, and not well: ${health.reason}`, 'its log says more (docker logs certyn-runner)')
  },
}
