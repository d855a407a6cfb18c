import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { TLSSocket } from 'node:tls'
import { request } from 'undici'
import { z } from 'zod'
import { address, CALL_TIMEOUT_MS, dispatcherFor } from '../../api/client.ts'
import type { Config } from '../../config.ts'
import { reasonOf } from '../../log.ts'
import { errorCode } from '../../state/files.ts'

/**
 * One call to the control plane by the runner's own client, and how far it came. The checks of the network each look
 * at one stretch of the same way, so that they agree with each other and with the daemon.
 */
export type Stretch = 'name' | 'proxy' | 'connection' | 'TLS' | 'answer'

export interface Way {
  readonly config: Config
  /** NO_PROXY and plain http:// leave a proxy out. */
  readonly proxied: boolean
  readonly certificate: Certificate | null
  readonly end: Reply | Broken
}

export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
  /** Wall clock. */
  readonly receivedAtMs: number
}

export interface Broken {
  readonly at: Stretch
  /** Of the system, of TLS or of the client; a proxy's refusal is its status. */
  readonly code: string
  readonly why: string
}

export interface Certificate {
  readonly issuer: string
  readonly validTo: string
}

/** A page of somebody else's is cut here: a few words of it are enough to tell. */
const REPLY_LIMIT_CHARS = 10_000

/** @throws what the client throws */
export async function ask(
  config: Config,
  path: string,
  abort: AbortSignal,
  headers: Readonly<Record<string, string>> = {},
): Promise<Reply> {
  const dispatcher = dispatcherFor(config)
  try {
    const signal = AbortSignal.any([abort, AbortSignal.timeout(CALL_TIMEOUT_MS)])
    const reply = await request(address(config.CONTROL_PLANE_URL, path), { dispatcher, headers, signal })
    const receivedAtMs = Date.now()
    const text = (await reply.body.text()).slice(0, REPLY_LIMIT_CHARS)
    return { status: reply.statusCode, headers: reply.headers, text, receivedAtMs }
  } finally {
    await dispatcher.destroy()
  }
}

/** @param abort on which the way is broken, too */
export async function knock(config: Config, abort: AbortSignal): Promise<Way> {
  const dials = new Dials()
  const target = config.CONTROL_PLANE_URL
  const proxy = config.HTTPS_PROXY === null ? null : new URL(config.HTTPS_PROXY)
  const isProxied = () => proxy !== null && dials.tried.has(proxy.host)
  try {
    const reply = await ask(config, '/healthz', abort)
    return { config, proxied: isProxied(), certificate: dials.certificate, end: reply }
  } catch (error) {
    const proxied = isProxied()
    const reached = {
      proxy: proxy !== null && dials.reached.has(proxy.host),
      target: dials.reached.has(target.host),
    }
    const end = { at: brokenAt(error, proxied, reached), code: codeOf(error), why: reasonOf(error).trim() }
    return { config, proxied, certificate: dials.certificate, end }
  } finally {
    dials.stop()
  }
}

const Dial = z.object({ connectParams: z.object({ host: z.string() }), socket: z.unknown().optional() })
const TRIED = 'undici:client:beforeConnect'
const REACHED = 'undici:client:connected'

/** Whom the client dials is only known to itself: it tells on these channels. What a listener throws ends the process. */
class Dials {
  readonly tried = new Set<string>()
  readonly reached = new Set<string>()
  certificate: Certificate | null = null
  readonly #onTried = (message: unknown) => {
    const dial = Dial.safeParse(message)
    if (dial.success) this.tried.add(dial.data.connectParams.host)
  }
  readonly #onReached = (message: unknown) => {
    const dial = Dial.safeParse(message)
    if (!dial.success) return
    const { connectParams, socket } = dial.data
    this.reached.add(connectParams.host)
    if (socket instanceof TLSSocket) this.certificate = certificateOf(socket)
  }

  constructor() {
    subscribe(TRIED, this.#onTried)
    subscribe(REACHED, this.#onReached)
  }

  stop(): void {
    unsubscribe(TRIED, this.#onTried)
    unsubscribe(REACHED, this.#onReached)
  }
}

function certificateOf(socket: TLSSocket): Certificate {
  const { issuer, valid_to: validTo } = socket.getPeerCertificate()
  const [name] = [issuer?.CN ?? issuer?.O ?? 'nobody named'].flat()
  return { issuer: name ?? '', validTo }
}

const NO_NAME: ReadonlySet<string> = new Set(['ENOTFOUND', 'EAI_AGAIN'])
const PROXY_STATUS = /^Proxy response \((\d{3})\)/
/** The proxy itself is well and says that it cannot reach the control plane. */
const BEYOND_PROXY: ReadonlySet<string> = new Set(['502', '503', '504'])
const OF_TLS = /^(?:ERR_SSL|ERR_TLS|EPROTO|CERT_|DEPTH_|SELF_SIGNED|UNABLE_TO_)/

function brokenAt(
  error: unknown,
  proxied: boolean,
  reached: { readonly proxy: boolean; readonly target: boolean },
): Stretch {
  const code = codeOf(error)
  if (NO_NAME.has(code)) return 'name'
  if (reached.target) return 'answer'
  if (PROXY_STATUS.test(reasonOf(error))) return BEYOND_PROXY.has(code) ? 'connection' : 'proxy'
  if (proxied && !reached.proxy) return 'proxy'
  if (OF_TLS.test(code) || code === 'ECONNRESET') return 'TLS'
  return 'connection'
}

function codeOf(error: unknown): string {
  return PROXY_STATUS.exec(reasonOf(error))?.[1] ?? errorCode(error)
}
