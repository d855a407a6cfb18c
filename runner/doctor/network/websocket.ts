import { WebSocket } from 'ws'
import { address } from '../../api/client.ts'
import { agentFor } from '../../api/websocket.ts'
import type { Config } from '../../config.ts'
import { reasonOf } from '../../log.ts'
import { type Check, type Finding, fail, ok } from '../examination.ts'
import type { Settings } from '../host/settings.ts'
import { versionIn } from './control-plane.ts'
import type { Reply } from './way.ts'

const TIMEOUT_MS = 10_000
const REMEDY =
  'let what is in between pass websockets (nginx: proxy_http_version 1.1 and the headers Upgrade and Connection); without them work is picked up at the sync interval only, and there is no live view'

/** To a place where the control plane opens one for anybody and closes it: a doorbell would replace a daemon's own. */
export const websocket: Check<{ settings: Settings; reply: Reply }, null> = {
  name: 'websocket',
  async look({ settings: { config } }, signal) {
    const url = address(config.CONTROL_PLANE_URL, '/healthz')
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    return open(url, config, signal)
  },
}

function open(url: URL, config: Config, signal: AbortSignal): Promise<Finding<null>> {
  const socket = new WebSocket(url, { agent: agentFor(url, config), handshakeTimeout: TIMEOUT_MS })
  const late = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)])
  const found = Promise.withResolvers<Finding<null>>()
  let isOpen = false
  late.addEventListener('abort', () => socket.terminate())
  socket.on('open', () => {
    isOpen = true
  })
  socket.on('close', code => {
    if (isOpen && code === 1000) found.resolve(ok('opens and closes as it should'))
    else found.resolve(fail(`opens, and then nothing comes through (${code})`, REMEDY))
  })
  socket.on('unexpected-response', async (_request, reply) => {
    const text = (await reply.toArray().catch(() => [])).join('')
    found.resolve(fail(refusal(reply.statusCode ?? 0, text), REMEDY))
    socket.terminate()
  })
  socket.on('error', error => found.resolve(fail(`does not open: ${reasonOf(error)}`, REMEDY)))
  return found.promise
}

function refusal(status: number, text: string): string {
  if (versionIn({ status, text }) !== null)
    return 'the control plane never sees the upgrade: something in between takes it away'
  return `the upgrade is refused with ${status}`
}
