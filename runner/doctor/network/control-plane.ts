import { HealthStatus } from '../../../protocol/admin-api.ts'
import { parseJson } from '../../../protocol/json.ts'
import { type Check, fail, ok } from '../examination.ts'
import type { Reply, Way } from './way.ts'

export const controlPlane: Check<{ way: Way }, Reply> = {
  name: 'control plane',
  look({ way: { config, end } }) {
    if ('at' in end) {
      const remedy =
        'check that the control plane runs; behind a proxy of its own, that this passes requests on'
      return fail(`gives no answer: ${end.why}`, remedy)
    }
    const version = versionIn(end)
    if (version !== null) return ok(`version ${version} answers`, end)
    const { location } = end.headers
    const detail =
      location === undefined ? excerpt(end.text) : `a redirect to ${location}, which is never followed`
    return fail(
      `${config.CONTROL_PLANE_URL.href} answered ${end.status}, not as a control plane does: ${detail}`,
      'check CONTROL_PLANE_URL, its path too; a proxy, a login page or a firewall may answer in its place',
    )
  },
}

/** @returns the control plane's version, or null when it is not one that answers */
export function versionIn({ status, text }: Pick<Reply, 'status' | 'text'>): string | null {
  const json = parseJson(text)
  const health = HealthStatus.safeParse(json.ok ? json.value : null)
  return status === 200 && health.success ? health.data.version : null
}

function excerpt(text: string): string {
  return text.replace(/\s+/g, ' ').trim().slice(0, 120) || '(nothing)'
}
