import type { ErrorCode } from '../../protocol/errors.ts'
import { type ApiFailure, PLAIN_HTTP_CUT } from './client.ts'

/** What a failed call means for the process that made it. */
export type Severity =
  /** The next attempt may succeed. */
  | 'retryable'
  /** No attempt of this process with these means will succeed. */
  | 'fatal'
  /** A newer process speaks for this runner. */
  | 'stale'

const SEVERITIES: Readonly<Record<ErrorCode, Severity>> = {
  // Of this process's identity or its release.
  unauthenticated: 'fatal',
  token_expired: 'fatal',
  token_revoked: 'fatal',
  token_used_up: 'fatal',
  unsupported_protocol: 'fatal',
  boot_superseded: 'stale',
  // Passing, or mended on the control plane's side while the runner waits.
  forbidden: 'retryable',
  feature_disabled: 'retryable',
  not_found: 'retryable',
  runner_name_taken: 'retryable',
  rate_limited: 'retryable',
  overloaded: 'retryable',
  // A fault of one end's release: nothing else helps than to try again and to say so.
  invalid_request: 'retryable',
  method_not_allowed: 'retryable',
  conflict: 'retryable',
  pool_not_empty: 'retryable',
  execution_target_not_self_hosted: 'retryable',
  idempotency_mismatch: 'retryable',
  session_ended: 'retryable',
  not_running: 'retryable',
  offset_mismatch: 'retryable',
  length_required: 'retryable',
  payload_too_large: 'retryable',
  unsupported_media_type: 'retryable',
  gpu_unsupported: 'retryable',
}

/**
 * Only an answer that is this API's own can be final: a proxy's 401 or 404 page says nothing about the runner.
 */
export function classify(failure: ApiFailure): Severity {
  return failure.kind === 'refused' ? SEVERITIES[failure.problem.code] : 'retryable'
}

/** What kind of failure it was, in one of a few words that may be counted by. */
export function errorTypeOf(failure: ApiFailure): string {
  return failure.kind === 'refused' ? failure.problem.code : failure.kind
}

/** One line for the log: what happened and, where something can be done, what. */
export function explain(failure: ApiFailure): string {
  switch (failure.kind) {
    case 'refused':
      return `${failure.problem.code}: ${failure.problem.detail}`
    case 'unexpected':
      return `${failure.detail}; check that CONTROL_PLANE_URL is the control plane and no proxy answers for it`
    case 'unreachable':
      return `${failure.detail}; ${remedyOf(failure.detail) ?? OTHERWISE}`
  }
}

/** What is wrong with a connection, by what Node, OpenSSL or a library says of it, and what to do about it. */
const TROUBLES: readonly { readonly seen: RegExp; readonly remedy: string }[] = [
  {
    seen: /self[- ]signed certificate|unable to (?:get|verify)|UNABLE_TO_|SELF_SIGNED/i,
    remedy:
      'the certificate is not trusted: set NODE_EXTRA_CA_CERTS to the PEM file of the CA that issued it',
  },
  {
    seen: /CERT_HAS_EXPIRED|certificate has expired/i,
    remedy: 'the certificate has expired: renew it, or set this host’s clock',
  },
  {
    seen: /ALTNAME_INVALID|does not match certificate/i,
    remedy: 'the certificate is for another name: write CONTROL_PLANE_URL with the name that it is for',
  },
  {
    // OpenSSL on a server's first bytes when they are no TLS.
    seen: /wrong version number|packet length too long/i,
    remedy:
      'plain HTTP is spoken where https:// was asked for: check scheme and port of CONTROL_PLANE_URL and HTTPS_PROXY (http:// to a control plane also needs RUNNER_ALLOW_HTTP=1)',
  },
  {
    seen: new RegExp(`^${PLAIN_HTTP_CUT}`),
    remedy:
      'if TLS is spoken at this port, write CONTROL_PLANE_URL with https://; otherwise check the control plane and what is in between',
  },
  {
    seen: /ENOTFOUND|EAI_AGAIN/,
    remedy:
      'the name could not be resolved: check this host’s DNS and the name in CONTROL_PLANE_URL or HTTPS_PROXY',
  },
  {
    seen: /ECONNREFUSED/,
    remedy:
      'nothing listens there: check that the control plane runs, the port in CONTROL_PLANE_URL or HTTPS_PROXY, and that outbound HTTPS is allowed (runner doctor tests each)',
  },
  {
    seen: /EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL/,
    remedy: 'there is no route to it: check the routes and firewalls of this host and its network',
  },
  {
    seen: /ETIMEDOUT|timed out|timeout|no answer within/i,
    remedy:
      'no answer came in time: a firewall may drop what is sent, so allow outbound HTTPS or set HTTPS_PROXY; or the control plane is overloaded',
  },
  {
    seen: /ECONNRESET|EPIPE|other side closed|socket hang up/i,
    remedy:
      'the connection was cut: if it goes on, look at the logs of the control plane and of proxies in between',
  },
]
const OTHERWISE =
  'check CONTROL_PLANE_URL, HTTPS_PROXY and that outbound HTTPS is allowed (runner doctor tests each)'

/** @param reason why a connection is no longer there; words of the protocol itself stay as they are */
export function explainTrouble(reason: string): string {
  const remedy = remedyOf(reason)
  return remedy === null ? reason : `${reason}; ${remedy}`
}

function remedyOf(detail: string): string | null {
  return TROUBLES.find(({ seen }) => seen.test(detail))?.remedy ?? null
}
