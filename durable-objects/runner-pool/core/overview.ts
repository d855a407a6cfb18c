import { ATTENTION_LIMIT } from '../../../protocol/overview.ts'
import { timestamp } from '../../../protocol/text.ts'
import { VERSION } from '../../../protocol/version.ts'
import type { PoolOverview, TimeSpan } from '../rpc.ts'
import type { PoolContext } from './context.ts'
import { isOnline, lastHeartbeatAt } from './presence.ts'
import { isBehind, stats } from './runners.ts'
import { readSamples, toPoolSample } from './samples.ts'

/** The pool's part of an overview of all pools; its runners are read once. */
export function overview(ctx: PoolContext, { since, step_ms }: TimeSpan): PoolOverview {
  const runners = [...ctx.store.runners.all()]
  const online = new Set(runners.filter(runner => isOnline(ctx, runner)))
  const online_by_token: Record<string, number> = {}
  for (const { tokenId } of online) online_by_token[tokenId] = (online_by_token[tokenId] ?? 0) + 1
  return {
    stats: stats(ctx, runners),
    samples: readSamples(ctx, since, step_ms).map(toPoolSample),
    offline: runners
      .filter(runner => !online.has(runner))
      .slice(0, ATTENTION_LIMIT)
      .map(runner => ({
        runner_id: runner.id,
        runner_name: runner.name,
        since: timestamp(lastHeartbeatAt(ctx, runner)),
      })),
    behind: runners
      .filter(runner => online.has(runner) && isBehind(runner.version, VERSION))
      .slice(0, ATTENTION_LIMIT)
      .map(runner => ({ runner_id: runner.id, runner_name: runner.name, version: runner.version })),
    online_by_token,
  }
}
