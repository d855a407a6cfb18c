import { isIP } from 'node:net'
import type { Config } from '../../config.ts'
import { type Check, ok, skipped, warn } from '../examination.ts'
import type { Reach } from './inside.ts'
import type { JobContainer } from './job-container.ts'
import type { JobNetwork } from './network.ts'
import { NAME_VARIABLE, TARGETS_VARIABLE } from './scripts.ts'

/** What a job reaches. It is meant to reach the network it tests, so what is too much is a warning, with the rule. */

const METADATA = ['169.254.169.254', 'fd00:ec2::254']
/** Of services that a host most often has for everybody: logins, web servers, Docker and Kubernetes. */
const HOST_PORTS = [22, 80, 443, 2375, 2376, 10250]
const NO_TOOL = 'an image with node, nc or wget'

type Container = { readonly container: JobContainer }

/** @returns what the script in the container is to try, as its environment */
export function triesOf(config: Config, { gateways }: JobNetwork): Readonly<Record<string, string>> {
  const targets = [...METADATA.map(host => `${host} 80`), ...gateways.flatMap(portsOf)]
  const name = nameOf(config)
  return { [TARGETS_VARIABLE]: targets.join(','), ...(name !== null && { [NAME_VARIABLE]: name }) }
}

function portsOf(gateway: string): string[] {
  return HOST_PORTS.map(port => `${gateway} ${port}`)
}

export const jobMetadata: Check<Container & { network: JobNetwork }, null> = {
  name: 'job to cloud metadata',
  look({ container: { inside }, network }) {
    const found = METADATA.map(host => ({ host, reach: inside.reached.get(`${host} 80`) ?? 'unknown' }))
    if (found.every(({ reach }) => reach === 'unknown')) return skipped(NO_TOOL)
    const seen = found.map(({ host, reach }) => `${host}: ${reach}`).join(', ')
    const open = found.filter(({ reach }) => reach === 'open')
    if (open.length === 0) return ok(`not reached (${seen})`)
    const rules = open.map(({ host }) => {
      const program = host.includes(':') ? 'ip6tables' : 'iptables'
      return `${program} -I DOCKER-USER -i ${network.device} -d ${host} -j DROP`
    })
    const remedy = `a job can read what this host's cloud identity may do; on the host: ${rules.join('; ')}`
    return warn(`reached (${seen})`, remedy)
  },
}

export const jobGateway: Check<Container & { network: JobNetwork }, null> = {
  name: 'job to host',
  look({ container: { inside }, network: { gateways, device } }) {
    if (gateways.length === 0) return ok('the network has no gateway')
    const tried = gateways.flatMap(portsOf)
    const found = tried.map(target => ({ target, reach: inside.reached.get(target) ?? 'unknown' }))
    if (found.every(({ reach }) => reach === 'unknown')) return skipped(NO_TOOL)
    const open = found
      .filter(({ reach }) => reach === 'open')
      .map(({ target }) => target.replace(' ', ' port '))
    if (open.length === 0) {
      const ports = HOST_PORTS.join(', ')
      return ok(`${gateways.join(', ')}: none of the ports ${ports} answers (${kinds(found)})`)
    }
    const remedy = `a job can talk to these services of the host; on the host: iptables -I INPUT -i ${device} -m conntrack --ctstate NEW -j DROP`
    return warn(`reached: ${open.join(', ')}`, remedy)
  },
}

export const jobDns: Check<Container, null> = {
  name: 'job DNS',
  look({ container: { inside, bench } }) {
    const name = nameOf(bench.settings.config)
    if (name === null) return skipped('a CONTROL_PLANE_URL with a name to resolve')
    if (inside.resolved === null) return skipped('an image with node, getent or nslookup')
    if (inside.resolved) return ok(`${name} is resolved`)
    return warn(
      `${name} is not resolved inside a job`,
      'jobs do not call the control plane, but names of the network they test may fare the same: give the Engine resolvers that know them ("dns" in daemon.json)',
    )
  },
}

/** @returns null where there is no name that means the same inside a container */
function nameOf({ CONTROL_PLANE_URL: { hostname } }: Config): string | null {
  const isLocal = hostname === 'localhost' || hostname.endsWith('.localhost')
  return isLocal || isIP(hostname.replace(/^\[|\]$/g, '')) !== 0 ? null : hostname
}

function kinds(found: readonly { readonly reach: Reach }[]): string {
  return [...new Set(found.map(({ reach }) => reach))].join(', ')
}
