import { ERRORS, type ErrorCode, type FieldError, type Problem, type Refusal } from '../../protocol/errors.ts'
import type { Reply } from './reply.ts'

/** The rate limits count over a minute; half of it lets a polite client back in without a stampede at its end. */
const RATE_LIMITED_RETRY_SECONDS = 30
/** A reset object or a failing D1 is usually back within seconds. */
const OVERLOADED_RETRY_SECONDS = 2

const RETRY_AFTER_SECONDS: Partial<Record<ErrorCode, number>> = {
  rate_limited: RATE_LIMITED_RETRY_SECONDS,
  overloaded: OVERLOADED_RETRY_SECONDS,
}

/** One sentence for every absent thing: another tenant's must read exactly the same. */
const NOT_FOUND_DETAIL = 'There is nothing here by that name.'

/** Secrets pass through these answers, so no cache may keep them; and nothing here is a page to sniff. */
const API_HEADERS = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' } as const

/** The only place where a refusal becomes a response. */
export function problemResponse(
  refusal: Refusal,
  requestId: string,
  headers: Readonly<Record<string, string>> = {},
): Response {
  const { status, title } = ERRORS[refusal.code]
  const errors = refusal.errors ?? errorsOf(refusal)
  const problem: Problem = {
    type: 'about:blank',
    title,
    status,
    code: refusal.code,
    detail: refusal.code === 'not_found' ? NOT_FOUND_DETAIL : refusal.detail,
    request_id: requestId,
    ...(errors === undefined ? {} : { errors: [...errors] }),
    ...(refusal.length === undefined ? {} : { length: refusal.length }),
    ...(refusal.run_status === undefined ? {} : { run_status: refusal.run_status }),
  }
  const retryAfter = RETRY_AFTER_SECONDS[refusal.code]
  return Response.json(problem, {
    status,
    headers: {
      ...API_HEADERS,
      ...headers,
      'content-type': 'application/problem+json',
      'x-request-id': requestId,
      ...(retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) }),
      ...(status === 401 ? { 'www-authenticate': 'Bearer' } : {}),
    },
  })
}

/** An invalid request always says where; one that is wrong as a whole has the empty path. */
function errorsOf({ code, detail }: Refusal): FieldError[] | undefined {
  return code === 'invalid_request' ? [{ path: '', message: detail }] : undefined
}

export function replyResponse(reply: Reply<unknown>, requestId: string): Response {
  if (reply.status === 'raw') return reply.response
  const headers = { ...reply.headers, ...API_HEADERS, 'x-request-id': requestId }
  if (reply.status === 204) return new Response(null, { status: 204, headers })
  return Response.json(reply.body, { status: reply.status, headers })
}
