import { logLine, reasonOf } from '../../durable-objects/log.ts'
import { accepted, type Result, refused } from '../../protocol/errors.ts'
import type { Caller } from '../auth/callers.ts'
import type { Edge } from '../edge.ts'

/**
 * The limits stop abuse: 6,000 calls a minute per credential, 300 per address without a valid one (both set where
 * the bindings are). Many runners share one address, so an address is charged for what was refused, not for work.
 */
export async function keyLimit(edge: Edge & { readonly caller: Caller }): Promise<Result<null>> {
  const { caller } = edge
  switch (caller.kind) {
    case 'anyone':
      return accepted(null)
    case 'operator':
      return await spend(edge, edge.env.LIMIT_KEY, 'operator')
    case 'key':
      return await spend(edge, edge.env.LIMIT_KEY, caller.key.id)
    case 'runner':
      return await spend(edge, edge.env.LIMIT_KEY, `${caller.credentialHash}${budgetOf(edge)}`)
  }
}

/** What many chatty sessions bring must never be the reason that a sync is refused: they have a limit of their own. */
function budgetOf({ url }: Edge): string {
  return url.pathname.includes('/sessions/') ? ':sessions' : ''
}

/** For a credential that comes in the body: a live link. @param source its id */
export async function sourceLimit(edge: Edge, source: string): Promise<Result<null>> {
  return await spend(edge, edge.env.LIMIT_KEY, source)
}

export async function addressLimit(edge: Edge): Promise<Result<null>> {
  return await spend(edge, edge.env.LIMIT_UNAUTHENTICATED, edge.address)
}

async function spend(edge: Edge, limit: RateLimit | undefined, key: string): Promise<Result<null>> {
  if (limit === undefined || !edge.settings.RateLimits__Enabled) return accepted(null)
  try {
    const { success } = await limit.limit({ key })
    return success ? accepted(null) : refused('rate_limited', 'Too many calls in the last minute.')
  } catch (error) {
    // A limiter that cannot answer must not become an outage.
    logLine('warn', 'rate_limit_unavailable', { request_id: edge.requestId, reason: reasonOf(error) })
    return accepted(null)
  }
}
