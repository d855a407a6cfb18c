import type { Problem } from '../protocol/errors.ts'

/** Why a command ends without having done what it was asked. */
export type Failure =
  | { readonly kind: 'usage'; readonly detail: string }
  /** Nothing has the name that was given in place of an id, or several have. */
  | { readonly kind: 'unknown_name'; readonly detail: string }
  | {
      readonly kind: 'refused'
      readonly call: string
      readonly problem: Problem
      readonly retryAfterMs: number
    }
  | { readonly kind: 'unreachable'; readonly call: string; readonly detail: string }
  /** Something answered, but not as this API does. */
  | {
      readonly kind: 'unexpected'
      readonly call: string
      readonly status: number
      readonly detail: string
    }

export class CommandFailure extends Error {
  override readonly name = 'CommandFailure'
  readonly failure: Failure

  constructor(failure: Failure) {
    super('detail' in failure ? failure.detail : failure.problem.detail)
    this.failure = failure
  }
}

export function usage(detail: string): CommandFailure {
  return new CommandFailure({ kind: 'usage', detail })
}

/** What the user can do about the refusals that need it. */
const REMEDIES: Partial<Record<Problem['code'], string>> = {
  unauthenticated: 'check CERTYN_API_KEY: the key may be revoked, expired, or of another control plane',
  forbidden: 'the key’s role does not allow this; `certyn whoami` shows it',
  feature_disabled:
    'the operator switches it on: Features__SelfHostedRunnersEnabled, Features__SelfHostedRelayEnabled',
  pool_not_empty: 'remove its runners and let its runs end first: `certyn runners list`, `certyn runs list`',
  execution_target_not_self_hosted:
    'route it to a pool: `certyn environments edit <environment> --pool <pool>`',
  rate_limited: 'wait a minute',
}

/** For people: the first line says what, those below it where and what to do. */
export function linesOf(failure: Failure): string[] {
  switch (failure.kind) {
    case 'usage':
    case 'unknown_name':
      return failure.detail.split('\n')
    case 'refused': {
      const { code, detail, errors = [], request_id } = failure.problem
      const remedy = REMEDIES[code]
      return [
        `refused: ${failure.call}: ${code}: ${detail}`,
        ...errors.map(({ path, message }) => `  ${path === '' ? 'the body' : path}: ${message}`),
        ...(remedy === undefined ? [] : [`  ${remedy}`]),
        `  request ${request_id}`,
      ]
    }
    case 'unreachable':
      return [`unreachable: ${failure.call}: ${failure.detail}`, `  ${remedyOf(failure.detail)}`]
    case 'unexpected':
      return [
        `unexpected answer: ${failure.call}: ${failure.detail}`,
        '  check that CERTYN_URL is the control plane and that no proxy answers for it',
      ]
  }
}

/** For programs, on the error stream. */
export function documentOf(failure: Failure, exitCode: number) {
  const base = { kind: failure.kind, exit_code: exitCode }
  if (failure.kind !== 'refused') return { error: { ...base, detail: failure.detail } }
  const { status, code, detail, errors, request_id } = failure.problem
  return { error: { ...base, status, code, detail, errors: errors ?? [], request_id } }
}

/** What Node says of a certificate that nothing it trusts vouches for. */
const UNTRUSTED = /self[- ]signed certificate|unable to (?:get|verify)|UNABLE_TO_|SELF_SIGNED/i
const UNRESOLVED = /ENOTFOUND|EAI_AGAIN/

function remedyOf(detail: string): string {
  if (UNTRUSTED.test(detail)) {
    return 'the certificate is not trusted: set NODE_EXTRA_CA_CERTS to the PEM file of the CA that issued it'
  }
  if (UNRESOLVED.test(detail))
    return 'the name could not be resolved: check CERTYN_URL, HTTPS_PROXY and the DNS'
  return 'check CERTYN_URL, HTTPS_PROXY and that outbound HTTPS is allowed (`certyn doctor` looks at more)'
}
