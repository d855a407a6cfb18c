import type { ErrorCode } from '../../protocol/errors.ts'
import type { ApiFailure } from './client.ts'

/** What a failed call means for the process that made it. */
export type Severity =
  /** The next attempt may succeed. */
  | 'retryable'
  /** No attempt of this process with these means will succeed. */
  | 'fatal'
  /** A newer process speaks for this runner. */
  | 'stale'

const BY_CODE: Partial<Record<ErrorCode, Severity>> = {
  unauthenticated: 'fatal',
  token_expired: 'fatal',
  token_revoked: 'fatal',
  token_used_up: 'fatal',
  unsupported_protocol: 'fatal',
  boot_superseded: 'stale',
}

/**
 * Only an answer that is this API's own can be final: a proxy's 401 or 404 page says nothing about the runner.
 */
export function classify(failure: ApiFailure): Severity {
  return failure.kind === 'refused' ? (BY_CODE[failure.problem.code] ?? 'retryable') : 'retryable'
}

/** One line for the log: what happened and, where something can be done, what. */
export function explain(failure: ApiFailure): string {
  switch (failure.kind) {
    case 'refused':
      return `${failure.problem.code}: ${failure.problem.detail}`
    case 'unexpected':
      return `${failure.detail}; check that CONTROL_PLANE_URL is the control plane and no proxy answers for it`
    case 'unreachable':
      return `${failure.detail}; check CONTROL_PLANE_URL, HTTPS_PROXY and that outbound HTTPS is allowed (runner doctor tests each)`
  }
}
