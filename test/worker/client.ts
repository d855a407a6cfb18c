import { createExecutionContext, waitOnExecutionContext } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { Problem } from '../../protocol/errors.ts'
import type { Env } from '../../worker/env.ts'
import worker from '../../worker/index.ts'

export const ORIGIN = 'https://runners.example'
export const OPERATOR_KEY = env.OPERATOR_KEY
export const BINDINGS = env as unknown as Env

export interface Ask {
  readonly key?: string | undefined
  readonly body?: unknown
  /** Sent as it is, in place of `body`. */
  readonly rawBody?: BodyInit
  readonly headers?: Record<string, string>
  /** The cookie of a signed-in browser, which then also sends the origin of the control plane's own page. */
  readonly cookie?: string | undefined
  /** Bindings and settings that differ from the usual ones. */
  readonly env?: Record<string, unknown>
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** The JSON body; tests read it freely and assert what they read. */
  // biome-ignore lint/suspicious/noExplicitAny: a test states its expectations of the body itself
  readonly body: any
  readonly webSocket: WebSocket | null
}

/** Makes one call of the Worker and waits for everything it left in the background. */
export async function call(method: string, path: string, ask: Ask = {}): Promise<Answer> {
  const response = await fetchRaw(method, path, ask)
  const text = response.webSocket ? '' : await response.text()
  const type = response.headers.get('content-type') ?? ''
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: type.includes('json') ? JSON.parse(text) : undefined,
    webSocket: response.webSocket,
  }
}

export async function fetchRaw(method: string, path: string, ask: Ask, origin = ORIGIN): Promise<Response> {
  const context = createExecutionContext()
  const response = await send(method, path, ask, context, origin)
  await waitOnExecutionContext(context)
  return response
}

/** As soon as there is an answer, whatever still goes on in the background of the context. */
export async function send(
  method: string,
  path: string,
  ask: Ask,
  context: ExecutionContext,
  origin = ORIGIN,
): Promise<Response> {
  const headers = new Headers({
    'cf-connecting-ip': '192.0.2.7',
    ...(ask.cookie !== undefined && { cookie: ask.cookie, origin: ORIGIN }),
    ...ask.headers,
  })
  if (ask.key !== undefined) headers.set('authorization', `Bearer ${ask.key}`)
  if (ask.body !== undefined && !headers.has('content-type')) headers.set('content-type', 'application/json')
  const body = ask.rawBody ?? (ask.body === undefined ? null : JSON.stringify(ask.body))
  const request = new Request(`${origin}${path}`, { method, headers, body }) as Request<
    unknown,
    IncomingRequestCfProperties
  >
  return await worker.fetch(request, bindingsOf(ask), context)
}

/** As in an isolate, the same bindings are the same object at every call, and what rests on them is kept. */
const merged = new WeakMap<Record<string, unknown>, Env>()

function bindingsOf({ env: changes }: Ask): Env {
  if (changes === undefined) return BINDINGS
  const bindings = merged.get(changes) ?? { ...BINDINGS, ...changes }
  merged.set(changes, bindings)
  return bindings
}

/** @throws unless the answer is a refusal in the one form there is, and declared as such */
export function problemOf(answer: Answer): Problem {
  const type = answer.headers.get('content-type')
  if (type !== 'application/problem+json') {
    throw new Error(`expected a problem, got ${answer.status} ${type}: ${answer.text.slice(0, 500)}`)
  }
  const problem = Problem.parse(answer.body)
  if (problem.status !== answer.status) throw new Error(`status ${answer.status} says ${problem.status}`)
  if (problem.code === 'invalid_request' && !problem.errors?.length) {
    throw new Error(`an invalid request that does not say where: ${answer.text.slice(0, 500)}`)
  }
  return problem
}

/** The code of a refusal, or the status of anything else: what most expectations are about. */
export function outcome(answer: Answer): number | string {
  return answer.status < 400 ? answer.status : problemOf(answer).code
}
