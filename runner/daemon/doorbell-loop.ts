import { WebSocket } from 'ws'
import { DOORBELL } from '../../protocol/runner-api.ts'
import { backoffMs } from '../api/backoff.ts'
import { explainTrouble } from '../api/classify.ts'
import { address, runnerPath } from '../api/client.ts'
import { agentFor, type WebsocketParts } from '../api/websocket.ts'
import { jittered, sleep, systemClock } from '../clock.ts'
import { Complaint, OUTAGE_REPEAT_MS } from '../complaint.ts'
import type { Log } from '../log.ts'

const HANDSHAKE_TIMEOUT_MS = 10_000
/** The server sends one word. */
const MESSAGE_LIMIT_BYTES = 1024
/** Without a doorbell everything works at the sync's own pace, so dialling may be leisurely. */
const REDIAL_CAP_MS = 30_000
/** A socket that lasted this long was a good one: the next failure counts as the first. */
const GOOD_SOCKET_MS = 60_000

export interface DoorbellParts extends WebsocketParts {
  readonly log: Log
  readonly onRing: () => void
}

/** Keeps one websocket open on which the control plane says "sync now". It carries no state, so nothing is lost with it. */
export async function doorbellLoop(parts: DoorbellParts, signal: AbortSignal): Promise<void> {
  let failures = 0
  const outage = new Complaint(systemClock, parts.log, OUTAGE_REPEAT_MS)
  while (!signal.aborted) {
    const openedAt = performance.now()
    const reason = await listenOnce(parts, signal)
    if (signal.aborted) return
    const wasGood = performance.now() - openedAt > GOOD_SOCKET_MS
    if (wasGood) outage.worked()
    failures = wasGood ? 1 : failures + 1
    const pauseMs = backoffMs(failures, 250, Math.random, REDIAL_CAP_MS)
    const line = { reason: explainTrouble(reason), retry_in_ms: Math.round(pauseMs) }
    outage.failed(
      line,
      'the doorbell is not connected; work is picked up at the sync interval until it is',
      'info',
    )
    parts.onRing()
    await sleep(pauseMs, signal)
  }
}

/** @returns why the socket is no longer there */
function listenOnce(
  { config, membership, log, onRing }: DoorbellParts,
  signal: AbortSignal,
): Promise<string> {
  const url = address(config.CONTROL_PLANE_URL, runnerPath(membership.identity, 'doorbell'))
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  const socket = new WebSocket(url, {
    agent: agentFor(url, config),
    headers: { authorization: `Bearer ${membership.identity.credential}` },
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    followRedirects: false,
    maxPayload: MESSAGE_LIMIT_BYTES,
    perMessageDeflate: false,
  })
  return new Promise(resolve => {
    let reason = 'closed'
    let pulse: NodeJS.Timeout | undefined
    let alarm: NodeJS.Timeout | undefined
    const drop = (why: string) => {
      reason = why
      socket.terminate()
    }
    const beat = () => {
      socket.send(DOORBELL.ping)
      alarm = setTimeout(() => drop('no pong in time'), DOORBELL.pongTimeoutMs)
      pulse = setTimeout(beat, jittered(DOORBELL.pingIntervalMs))
    }
    const onAbort = () => drop('leaving')
    signal.addEventListener('abort', onAbort)
    socket.on('open', () => {
      log.info('the doorbell is connected')
      beat()
    })
    socket.on('message', data => {
      const text = data.toString()
      if (text === DOORBELL.pong) clearTimeout(alarm)
      else if (text === DOORBELL.ring) onRing()
    })
    socket.on('error', error => {
      reason = error.message
    })
    socket.on('close', code => {
      clearTimeout(pulse)
      clearTimeout(alarm)
      signal.removeEventListener('abort', onAbort)
      resolve(reason === 'closed' ? `closed with ${code}` : reason)
    })
  })
}
