import { getServers } from 'node:dns'
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { reasonOf } from '../../log.ts'
import { type Check, type Finding, fail, ok } from '../examination.ts'
import type { Settings } from '../host/settings.ts'
import { knock, type Way } from './way.ts'

/** Behind a proxy it is the proxy that resolves the control plane's name, and this host need not. */
export const dns: Check<{ settings: Settings }, Way> = {
  name: 'DNS',
  async look({ settings: { config } }, signal) {
    const way = await knock(config, signal)
    const [name, setting] =
      way.proxied && config.HTTPS_PROXY !== null
        ? [bare(new URL(config.HTTPS_PROXY)), 'HTTPS_PROXY']
        : [bare(config.CONTROL_PLANE_URL), 'CONTROL_PLANE_URL']
    if ('at' in way.end && way.end.at === 'name') return unresolved(name, setting, way.end.code)
    if (isIP(name) !== 0) return ok(`${name} is an address`, way)
    try {
      const found = await lookup(name, { all: true })
      return ok(`${name} is ${found.map(one => one.address).join(', ')}`, way)
    } catch (error) {
      return unresolved(name, setting, reasonOf(error))
    }
  },
}

function bare({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, '')
}

function unresolved(name: string, setting: string, why: string): Finding<never> {
  return fail(
    `${name} cannot be resolved (${why}; resolvers: ${getServers().join(', ') || 'none'})`,
    `check the name in ${setting} and this host's resolver (/etc/resolv.conf; for a container, docker run --dns)`,
  )
}
