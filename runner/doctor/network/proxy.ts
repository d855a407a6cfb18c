import { type Check, fail, ok } from '../examination.ts'
import type { Way } from './way.ts'

const REMEDIES: Readonly<Record<string, string>> = {
  '407':
    'give it a name and password it takes: HTTPS_PROXY=http://name:password@host:port (percent-encode what is no letter or digit)',
  '403': 'have the proxy allow CONNECT to the control plane, or name its host in NO_PROXY',
  ECONNREFUSED: 'nothing listens there: check host and port of HTTPS_PROXY',
}
const OTHERWISE = 'check HTTPS_PROXY (http://host:port); hosts that must be reached directly go into NO_PROXY'

export const proxy: Check<{ way: Way }, Way> = {
  name: 'proxy',
  look({ way }) {
    const { config, proxied, end } = way
    if (config.HTTPS_PROXY === null) return ok('none set (HTTPS_PROXY)', way)
    const host = hostOf(config.HTTPS_PROXY)
    if (!proxied) {
      const isPlain = config.CONTROL_PLANE_URL.protocol === 'http:'
      const why = isPlain ? 'CONTROL_PLANE_URL is http://' : 'NO_PROXY names the control plane'
      return ok(`${host}, not used: ${why}`, way)
    }
    if (!('at' in end) || end.at !== 'proxy') return ok(host, way)
    const said = /^\d{3}$/.test(end.code)
      ? `answered ${end.code} to CONNECT`
      : `cannot be reached: ${end.why}`
    return fail(`${host} ${said}`, REMEDIES[end.code] ?? OTHERWISE)
  },
}

/** Host and port only: an address may hold a password. */
function hostOf(proxy: string): string {
  const { protocol, hostname, port } = new URL(proxy)
  return `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`
}
