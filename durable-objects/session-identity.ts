/** Whose a session is, as the pool's object vouches for it to the objects that serve it. */
export interface SessionIdentity {
  readonly tenant_id: string
  readonly pool_id: string
  readonly run_id: string
  readonly session_id: string
}
