import { readFileSync } from 'node:fs'
import { type Check, ok, warn } from '../examination.ts'
import type { StatePlace } from './state-directory.ts'

const FORGETFUL: ReadonlySet<string> = new Set(['tmpfs', 'ramfs'])
/** Sockets and locks between the runner and its jobs go through the kernel of one host. */
const REMOTE = /^(?:nfs|nfs4|cifs|smb3|9p|ceph|glusterfs|fuse\..+)$/

/** Where the credential and the sessions' files really lie. */
export const fileSystem: Check<{ state: StatePlace }, null> = {
  name: 'file system',
  look({ state: { existing } }) {
    const mount = mountOf(existing, readFileSync('/proc/self/mountinfo', 'utf8'))
    if (mount === null) return ok('the kernel does not say')
    const seen = `${mount.type} at ${mount.point}`
    if (FORGETFUL.has(mount.type)) {
      return warn(
        `${seen}: it is memory, so the credential is lost with it`,
        'put RUNNER_STATE_DIR on a disk: after a loss the runner needs a new registration token',
      )
    }
    if (REMOTE.test(mount.type)) {
      return warn(`${seen}: it is not of this host alone`, 'put RUNNER_STATE_DIR on a local disk')
    }
    if (mount.type === 'overlay') {
      return warn(
        `${seen}: in a container this is lost when the container is removed`,
        'mount a directory of the host (-v /var/lib/certyn-runner:/var/lib/certyn-runner)',
      )
    }
    return ok(seen)
  },
}

interface Mount {
  readonly point: string
  readonly type: string
}

/** The innermost mount that covers the path; of several on one point the last hides the others. Exported for its tests. */
export function mountOf(path: string, mountinfo: string): Mount | null {
  let found: Mount | null = null
  for (const line of mountinfo.split('\n')) {
    const [, , , , rawPoint, ...rest] = line.split(' ')
    const type = rest[rest.indexOf('-') + 1]
    if (rawPoint === undefined || type === undefined) continue
    const point = rawPoint.replace(/\\([0-7]{3})/g, (_, code) =>
      String.fromCharCode(Number.parseInt(code, 8)),
    )
    const covers = point === '/' || path === point || path.startsWith(`${point}/`)
    if (covers && point.length >= (found?.point.length ?? 0)) found = { point, type }
  }
  return found
}
