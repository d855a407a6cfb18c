import { setTimeout as sleep } from 'node:timers/promises'
import { EnvHttpProxyAgent, request } from 'undici'
import type { z } from 'zod'
import { CommandFailure } from '../failure.ts'
import type { Settings } from '../settings.ts'
import { type Answer, type Headers, interpret, refusalOf } from './interpret.ts'
import { pauseBeforeRetry, type Repeat } from './retry.ts'

const CONNECT_TIMEOUT_MS = 10_000
const ANSWER_TIMEOUT_MS = 30_000
/** A log that is followed says at least every 15 s that it is still there. */
const SILENCE_LIMIT_MS = 45_000
/** The largest page there can be is far smaller. */
const REPLY_LIMIT_BYTES = 64 * 1024 * 1024

/** The one path that is not under `/api/v1`; it is nobody's business who asks for it. */
export const HEALTH = '/healthz'

type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

export interface CallOptions {
  readonly query?: Readonly<Record<string, string | number | undefined>>
  readonly body?: unknown
  readonly repeat?: Repeat
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal | undefined
}

export interface Stream {
  readonly status: number
  readonly headers: Headers
  readonly body: AsyncIterable<Uint8Array>
}

/** The admin API with one key. What comes back is parsed; a refusal is thrown; redirects are not followed. */
export class ControlPlane {
  readonly #settings: Settings
  readonly #dispatcher: EnvHttpProxyAgent

  constructor(settings: Settings) {
    this.#settings = settings
    this.#dispatcher = new EnvHttpProxyAgent({
      // Given explicitly, so that HTTP_PROXY, which is no setting of this program, is never picked up.
      httpProxy: '',
      httpsProxy: settings.httpsProxy ?? '',
      noProxy: settings.noProxy ?? '',
      connect: { timeout: CONNECT_TIMEOUT_MS },
    })
  }

  get address(): string {
    return this.#settings.url.href.replace(/\/$/, '')
  }

  get<Schema extends z.ZodType>(path: string, answer: Schema, options: CallOptions = {}) {
    return this.call('GET', path, answer, { repeat: 'safe', ...options })
  }

  /** Says by `repeat` whether it may be made again when the reply is lost; it may not, unless told. */
  async call<Schema extends z.ZodType>(
    method: Method,
    path: string,
    answer: Schema,
    options: CallOptions = {},
  ): Promise<z.output<Schema>> {
    return await this.#patiently(options, async () => {
      const reply = await this.#send(method, path, options, ANSWER_TIMEOUT_MS)
      const text = await readText(reply.body).catch(error => {
        throw unreachable(callOf(method, path), error)
      })
      return interpret({ call: callOf(method, path), ...reply, text }, answer)
    })
  }

  /** Bytes as they come; reading them may fail at any time. */
  async open(path: string, options: CallOptions = {}): Promise<Stream> {
    return await this.#patiently({ repeat: 'safe', ...options }, async () => {
      const reply = await this.#send('GET', path, options, SILENCE_LIMIT_MS)
      if (reply.status < 300) return reply
      const text = await readText(reply.body).catch(() => '')
      throw refusalOf({ call: callOf('GET', path), ...reply, text } satisfies Answer)
    })
  }

  async close(): Promise<void> {
    await this.#dispatcher.destroy()
  }

  async #patiently<T>({ repeat = 'once', signal }: CallOptions, attempt: () => Promise<T>): Promise<T> {
    for (let made = 1; ; made++) {
      try {
        return await attempt()
      } catch (error) {
        if (!(error instanceof CommandFailure) || signal?.aborted) throw error
        const pauseMs = pauseBeforeRetry(error.failure, { attempt: made, repeat }, Math.random)
        if (pauseMs === null) throw error
        await sleep(pauseMs, undefined, signal === undefined ? {} : { signal }).catch(() => {
          throw error
        })
      }
    }
  }

  async #send(method: Method, path: string, options: CallOptions, bodyTimeoutMs: number): Promise<Stream> {
    const { body, headers, signal } = options
    try {
      const reply = await request(this.#urlOf(path, options.query), {
        method,
        dispatcher: this.#dispatcher,
        headersTimeout: ANSWER_TIMEOUT_MS,
        bodyTimeout: bodyTimeoutMs,
        ...(signal !== undefined && { signal }),
        headers: {
          accept: '*/*',
          ...(path !== HEALTH && { authorization: `Bearer ${this.#settings.apiKey}` }),
          ...(body !== undefined && { 'content-type': 'application/json' }),
          ...headers,
        },
        body: body === undefined ? null : JSON.stringify(body),
      })
      return { status: reply.statusCode, headers: reply.headers, body: reply.body }
    } catch (error) {
      throw unreachable(callOf(method, path), error)
    }
  }

  #urlOf(path: string, query: CallOptions['query'] = {}): URL {
    const { url } = this.#settings
    const whole = new URL(url.pathname.replace(/\/$/, '') + pathOf(path), url)
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) whole.searchParams.set(name, String(value))
    }
    return whole
  }
}

function pathOf(path: string): string {
  return path === HEALTH ? path : `/api/v1${path}`
}

function callOf(method: Method, path: string): string {
  return `${method} ${pathOf(path)}`
}

export function unreachable(call: string, error: unknown): CommandFailure {
  return new CommandFailure({ kind: 'unreachable', call, detail: reasonOf(error) })
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0])
  const cause = error.cause === undefined ? '' : `: ${reasonOf(error.cause)}`
  return `${error.message || error.name}${cause}`
}

async function readText(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.byteLength
    if (size > REPLY_LIMIT_BYTES) throw new Error(`the answer is larger than ${REPLY_LIMIT_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
