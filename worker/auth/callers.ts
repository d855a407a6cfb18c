import type { Actor, Role, Tenant } from '../../protocol/admin-api.ts'

/** Who may make a call: anyone, the operator, a tenant's key of at least this role, or a pool's runner. */
export type Who = 'public' | 'operator' | Role | 'runner'

export interface Anyone {
  readonly kind: 'anyone'
}
export interface Operator {
  readonly kind: 'operator'
}
export interface KeyHolder {
  readonly kind: 'key'
  readonly tenant: Tenant
  /** Or the member, for a browser that came through Cloudflare Access. */
  readonly key: Actor
  /** Epoch milliseconds, for a browser that has signed in; null where the key came with the call. */
  readonly sessionEndsAt: number | null
}
/** Only the pool's object can tell whether the credential is good, so it travels with every call to it. */
export interface RunnerProcess {
  readonly kind: 'runner'
  readonly credentialHash: string
}
export type Caller = Anyone | Operator | KeyHolder | RunnerProcess
