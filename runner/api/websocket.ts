import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import type { Config } from '../config.ts'
import type { RunnerIdentity } from './client.ts'

/** What every websocket to the control plane is dialled with. */
export interface WebsocketParts {
  readonly config: Pick<Config, 'CONTROL_PLANE_URL' | 'HTTPS_PROXY' | 'NO_PROXY'>
  /** Looked at for every dial: credentials are rotated. */
  readonly membership: { readonly identity: RunnerIdentity }
}

/** The platform's own agents know CONNECT proxies and NO_PROXY. */
export function agentFor(url: URL, config: Pick<Config, 'HTTPS_PROXY' | 'NO_PROXY'>): HttpAgent {
  if (url.protocol === 'ws:' || config.HTTPS_PROXY === null)
    return url.protocol === 'ws:' ? new HttpAgent() : new HttpsAgent()
  const proxyEnv = {
    HTTPS_PROXY: config.HTTPS_PROXY,
    ...(config.NO_PROXY !== null && { NO_PROXY: config.NO_PROXY }),
  }
  return new HttpsAgent({ proxyEnv })
}
