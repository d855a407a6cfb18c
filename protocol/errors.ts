import * as z from 'zod'
import { RUN_STATUSES, type RunStatus } from './run.ts'

/** Every refusal a caller can meet, with its HTTP status and title. Total: a new code needs a row here. */
export const ERRORS = {
  invalid_request: { status: 400, title: 'The request is not valid' },
  unauthenticated: { status: 401, title: 'No valid credential' },
  token_expired: { status: 401, title: 'The registration token has expired' },
  token_revoked: { status: 401, title: 'The registration token was revoked' },
  token_used_up: { status: 401, title: 'The registration token has no uses left' },
  forbidden: { status: 403, title: 'Not allowed' },
  feature_disabled: { status: 403, title: 'The feature is off for this tenant' },
  not_found: { status: 404, title: 'Not found' },
  method_not_allowed: { status: 405, title: 'Method not allowed' },
  conflict: { status: 409, title: 'Conflict' },
  pool_not_empty: { status: 409, title: 'The pool still has runners or runs' },
  execution_target_not_self_hosted: {
    status: 409,
    title: 'The environment does not run on self-hosted runners',
  },
  idempotency_mismatch: { status: 409, title: 'The idempotency key was used with another body' },
  session_ended: { status: 409, title: 'The session has ended' },
  not_running: { status: 409, title: 'The run has no live session' },
  boot_superseded: { status: 409, title: 'A newer process of this runner has taken over' },
  runner_name_taken: { status: 409, title: 'An online runner has this name' },
  offset_mismatch: { status: 409, title: 'The offset is not the length so far' },
  length_required: { status: 411, title: 'Content-Length is required' },
  payload_too_large: { status: 413, title: 'The body is too large' },
  unsupported_media_type: { status: 415, title: 'The content type is not supported' },
  gpu_unsupported: { status: 422, title: 'GPU-backed execution is not supported' },
  unsupported_protocol: { status: 426, title: 'The protocol version is not supported' },
  rate_limited: { status: 429, title: 'Too many requests' },
  overloaded: { status: 503, title: 'Temporarily unable to answer' },
} as const

export type ErrorCode = keyof typeof ERRORS

export const ERROR_CODES = Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]]

export const FieldError = z.object({ path: z.string(), message: z.string() })
export type FieldError = z.infer<typeof FieldError>

/** Body of every refusal, `application/problem+json` (RFC 9457). */
export const Problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.number().int(),
  code: z.enum(ERROR_CODES),
  detail: z.string(),
  request_id: z.string(),
  errors: z.array(FieldError).optional(),
  length: z.number().int().optional(),
  run_status: z.enum(RUN_STATUSES).optional(),
})
export type Problem = z.infer<typeof Problem>

/** A refusal on its way to the edge; only the edge makes a response of it. */
export interface Refusal {
  readonly code: ErrorCode
  readonly detail: string
  readonly errors?: readonly FieldError[]
  /** Of `offset_mismatch`: where the other end stands. */
  readonly length?: number
  /** Of `not_running`: where the run stands, for whoever waits for its session. */
  readonly run_status?: RunStatus
}

export type Result<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: Refusal }

export function accepted<T>(value: T): Result<T> {
  return { ok: true, value }
}

export function refused(code: ErrorCode, detail: string): { ok: false; error: Refusal } {
  return { ok: false, error: { code, detail } }
}
