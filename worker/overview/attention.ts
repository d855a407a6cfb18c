import type { PoolOverview } from '../../durable-objects/runner-pool/rpc.ts'
import { ATTENTION_LIMIT, type Attention } from '../../protocol/overview.ts'
import { timestamp } from '../../protocol/text.ts'
import type { ExpiringToken } from '../directory/registration-tokens.ts'
import type { RunOutcomes } from '../directory/run-outcomes.ts'

export interface LookedAtPool {
  readonly id: string
  readonly name: string
  readonly overview: PoolOverview
}

/** What somebody should look at: what keeps runs from running first, then what did, then what may. */
export function attentionOf(
  pools: readonly LookedAtPool[],
  outcomes: RunOutcomes,
  tokens: readonly ExpiringToken[],
): Attention[] {
  return [
    ...pools.flatMap(stranded),
    ...lost(outcomes),
    ...pools.flatMap(offline),
    ...pools.flatMap(pool => expiring(pool, tokens)),
    ...pools.flatMap(behind),
  ].slice(0, ATTENTION_LIMIT)
}

function about({ id, name }: LookedAtPool) {
  return { pool_id: id, pool_name: name }
}

function stranded(pool: LookedAtPool): Attention[] {
  const { runners_online, queued } = pool.overview.stats
  return runners_online === 0 && queued > 0 ? [{ kind: 'no_runner_online', ...about(pool), queued }] : []
}

function lost({ counts, latestLost }: RunOutcomes): Attention[] {
  return latestLost === null ? [] : [{ kind: 'runs_lost', count: counts.lost, latest_run_id: latestLost }]
}

function offline(pool: LookedAtPool): Attention[] {
  return pool.overview.offline.map(runner => ({ kind: 'runner_offline', ...about(pool), ...runner }))
}

function behind(pool: LookedAtPool): Attention[] {
  return pool.overview.behind.map(runner => ({ kind: 'version_behind', ...about(pool), ...runner }))
}

/** A token that no runner of the pool came with is missed by nobody. */
function expiring(pool: LookedAtPool, tokens: readonly ExpiringToken[]): Attention[] {
  return tokens.flatMap(token => {
    const isMissed = token.poolId === pool.id && (pool.overview.online_by_token[token.id] ?? 0) > 0
    if (!isMissed) return []
    const { id: token_id, name: token_name, expiresAt } = token
    return [
      { kind: 'token_expiring', ...about(pool), token_id, token_name, expires_at: timestamp(expiresAt) },
    ]
  })
}
