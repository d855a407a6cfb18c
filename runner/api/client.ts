import { EnvHttpProxyAgent, request } from 'undici'
import type { z } from 'zod'
import { Problem } from '../../protocol/errors.ts'
import { parseJson } from '../../protocol/json.ts'
import {
  CredentialResponse,
  type RegisterRequest,
  RegisterResponse,
  type SyncRequest,
} from '../../protocol/runner-api.ts'
import type { Config } from '../config.ts'
import { reasonOf } from '../log.ts'
import { SyncReply } from './sync-reply.ts'

const CONNECT_TIMEOUT_MS = 5_000
/** A call that takes longer is better repeated: a sync is cheap, and a lease may be as short as 5 s. */
export const CALL_TIMEOUT_MS = 10_000
/** Joining and checking a large artifact reads all of it once more. */
const JOIN_TIMEOUT_MS = 120_000
/** 256 offers with full environments; a larger reply is not from a control plane. */
const REPLY_LIMIT_BYTES = 32 * 1024 * 1024

export const PLAIN_HTTP_CUT = 'plain http:// was not answered, the connection was cut'
/** What servers say, in a page of their own, to plain HTTP on their TLS port. */
const TLS_ONLY = /(?:plain HTTP|HTTP request)\b.{0,40}\b(?:HTTPS|SSL|TLS)/i

export type ApiFailure =
  | { readonly kind: 'unreachable'; readonly detail: string }
  /** Not this API's own answer, so its Retry-After, perhaps a proxy's hour, is not heeded: it is always 0. */
  | {
      readonly kind: 'unexpected'
      readonly status: number
      readonly detail: string
      readonly retryAfterMs: 0
    }
  | { readonly kind: 'refused'; readonly problem: Problem; readonly retryAfterMs: number }

export type ApiResult<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly failure: ApiFailure }

export interface RunnerIdentity {
  readonly poolId: string
  readonly runnerId: string
  readonly credential: string
}

interface CallOptions {
  readonly body?: unknown
  /** Sent as they are, in place of `body`. */
  readonly bytes?: Uint8Array
  readonly bearer?: string
  readonly signal?: AbortSignal | undefined
  readonly timeoutMs?: number
}

/** The runner API as results, never exceptions. Every reply is parsed; redirects are not followed. */
export class ApiClient {
  readonly #base: URL
  readonly #dispatcher: EnvHttpProxyAgent

  constructor(config: Pick<Config, 'CONTROL_PLANE_URL' | 'HTTPS_PROXY' | 'NO_PROXY'>) {
    this.#base = config.CONTROL_PLANE_URL
    this.#dispatcher = dispatcherFor(config)
  }

  register(body: RegisterRequest, signal: AbortSignal): Promise<ApiResult<RegisterResponse>> {
    return this.#call('POST', '/runner/v1/register', RegisterResponse, { body, signal })
  }

  sync(who: RunnerIdentity, body: SyncRequest, signal?: AbortSignal, timeoutMs?: number) {
    const options = { body, bearer: who.credential, signal, ...(timeoutMs !== undefined && { timeoutMs }) }
    return this.#call('POST', runnerPath(who, 'sync'), SyncReply, options)
  }

  rotate(who: RunnerIdentity, signal: AbortSignal): Promise<ApiResult<{ credential: string }>> {
    const options = { body: {}, bearer: who.credential, signal }
    return this.#call('POST', runnerPath(who, 'credential'), CredentialResponse, options)
  }

  /** JSON in, JSON out, for the calls that other modules know. */
  post<Schema extends z.ZodType>(
    path: string,
    schema: Schema,
    body: unknown,
    bearer: string,
    signal: AbortSignal,
  ): Promise<ApiResult<z.infer<Schema>>> {
    return this.#call('POST', path, schema, { body, bearer, signal, timeoutMs: JOIN_TIMEOUT_MS })
  }

  /** Bytes in, JSON out. */
  upload<Schema extends z.ZodType>(
    method: 'POST' | 'PUT',
    path: string,
    schema: Schema,
    options: Required<Pick<CallOptions, 'bytes' | 'bearer' | 'signal' | 'timeoutMs'>>,
  ): Promise<ApiResult<z.infer<Schema>>> {
    return this.#call(method, path, schema, options)
  }

  async close(): Promise<void> {
    await this.#dispatcher.destroy()
  }

  async #call<Schema extends z.ZodType>(
    method: 'POST' | 'PUT',
    path: string,
    schema: Schema,
    { body, bytes, bearer, signal, timeoutMs = CALL_TIMEOUT_MS }: CallOptions,
  ): Promise<ApiResult<z.infer<Schema>>> {
    let deadline: AbortSignal | undefined
    try {
      deadline = AbortSignal.timeout(timeoutMs)
      const reply = await request(address(this.#base, path), {
        method,
        dispatcher: this.#dispatcher,
        signal: signal === undefined ? deadline : AbortSignal.any([deadline, signal]),
        headers: {
          accept: 'application/json',
          ...(body !== undefined && { 'content-type': 'application/json' }),
          ...(bytes !== undefined && { 'content-type': 'application/octet-stream' }),
          ...(bearer !== undefined && { authorization: `Bearer ${bearer}` }),
        },
        body: bytes ?? (body === undefined ? null : JSON.stringify(body)),
      })
      const text = await readText(reply.body)
      return interpret(reply.statusCode, reply.headers, text, schema)
    } catch (error) {
      const detail = deadline?.aborted ? `no answer within ${timeoutMs} ms` : detailOf(error, this.#base)
      return { ok: false, failure: { kind: 'unreachable', detail } }
    }
  }
}

/** This runner's way out, which the caller destroys. */
export function dispatcherFor(config: Pick<Config, 'HTTPS_PROXY' | 'NO_PROXY'>): EnvHttpProxyAgent {
  return new EnvHttpProxyAgent({
    // Given explicitly, so that HTTP_PROXY, which is no setting of this program, is never picked up.
    httpProxy: '',
    httpsProxy: config.HTTPS_PROXY ?? '',
    noProxy: config.NO_PROXY ?? '',
    connect: { timeout: CONNECT_TIMEOUT_MS },
  })
}

/** A server that waits for TLS hangs up on plain HTTP, or answers with what is none. */
function detailOf(error: unknown, base: URL): string {
  const reason = reasonOf(error).trim()
  const isCut = /other side closed|ECONNRESET|Parse Error/.test(reason)
  return isCut && base.protocol === 'http:' ? `${PLAIN_HTTP_CUT} (${reason})` : reason
}

export function address(base: URL, path: string): URL {
  return new URL(base.pathname.replace(/\/$/, '') + path, base)
}

export function runnerPath(who: RunnerIdentity, call: string): string {
  return `/runner/v1/pools/${who.poolId}/runners/${who.runnerId}/${call}`
}

async function readText(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > REPLY_LIMIT_BYTES) throw new Error(`the reply is larger than ${REPLY_LIMIT_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** Exported for its tests: turns any HTTP answer into a result. */
export function interpret<Schema extends z.ZodType>(
  status: number,
  headers: Readonly<Record<string, string | string[] | undefined>>,
  text: string,
  schema: Schema,
): ApiResult<z.infer<Schema>> {
  const unexpected = (detail: string): ApiResult<never> => ({
    ok: false,
    failure: { kind: 'unexpected', status, detail, retryAfterMs: 0 },
  })
  if (status >= 300 && status < 400) {
    return unexpected(`answered ${status} with a redirect, which is never followed`)
  }
  const json = parseJson(text)
  if (!json.ok && TLS_ONLY.test(text)) {
    return unexpected(`answered ${status}: this port speaks TLS only, so the address begins with https://`)
  }
  if (!json.ok) return unexpected(`answered ${status}, ${json.message}`)
  if (status >= 400) {
    const problem = Problem.safeParse(json.value)
    if (!problem.success) return unexpected(`answered ${status} with something that is not this API's`)
    const retryAfterMs = readRetryAfter(headers['retry-after'])
    return { ok: false, failure: { kind: 'refused', problem: problem.data, retryAfterMs } }
  }
  const parsed = schema.safeParse(json.value)
  if (parsed.success) return { ok: true, value: parsed.data }
  const issue = parsed.error.issues[0]
  return unexpected(`the reply's ${issue?.path.join('.') || 'body'} is not as expected: ${issue?.message}`)
}

/** Seconds, the only form this API sends. */
function readRetryAfter(header: string | string[] | undefined): number {
  const seconds = Number(Array.isArray(header) ? header[0] : header)
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, 3600) * 1000 : 0
}
