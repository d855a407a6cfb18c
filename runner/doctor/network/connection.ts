import { type Check, fail, ok } from '../examination.ts'
import type { Way } from './way.ts'

const REMEDIES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there: check the port in CONTROL_PLANE_URL, and that the control plane runs',
  EHOSTUNREACH: 'there is no route to it: check the routes and firewalls of this host and its network',
  ENETUNREACH: 'there is no route to it: check the routes and firewalls of this host and its network',
}
const OTHERWISE =
  'allow outbound HTTPS to the control plane, or set HTTPS_PROXY to the proxy that must be used here'

export const connection: Check<{ way: Way }, Way> = {
  name: 'connection',
  look({ way }) {
    const { config, proxied, end } = way
    const { hostname, port, protocol } = config.CONTROL_PLANE_URL
    const host = `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`
    if (!('at' in end) || end.at !== 'connection')
      return ok(proxied ? `${host}, through the proxy` : host, way)
    if (proxied) {
      return fail(
        `the proxy cannot connect to ${host} (${end.why})`,
        'check CONTROL_PLANE_URL, and what the proxy itself may reach',
      )
    }
    return fail(`${host} cannot be reached: ${end.why}`, REMEDIES[end.code] ?? OTHERWISE)
  },
}
