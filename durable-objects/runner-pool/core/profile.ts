import type { SyncRequest } from '../../../protocol/runner-api.ts'
import type { Labels } from '../../../protocol/text.ts'
import type { PoolContext } from './context.ts'
import { MISSING_NOT_COUNTED, type RunnerRecord } from './model.ts'

/** What a runner says of itself, and what it means for its leases that it is on another Engine than before. */

/** Takes over what the runner says of itself. @returns whether any of it is news worth a row */
export function updateProfile(
  ctx: PoolContext,
  runner: RunnerRecord,
  request: SyncRequest,
  isNewBoot: boolean,
): boolean {
  const before = JSON.stringify(runner)
  const memo = ctx.memos.get(runner.id)
  // A state directory may be carried to another host: the credential and the boot it holds say nothing of the Engine.
  if (request.engine !== undefined && request.engine.id !== runner.engine?.id) leaveToOldEngine(ctx, runner)
  if (isNewBoot) {
    runner.boot = request.boot
    runner.bootId = request.boot_id
  }
  runner.synced = true
  runner.left = request.leaving === true
  runner.drainingItself = request.draining
  runner.slotsMax = request.slots.max
  runner.protocol = request.protocol
  runner.version = request.version ?? runner.version
  runner.agentVersion = request.agent_version ?? runner.agentVersion
  runner.platform = request.platform ?? runner.platform
  runner.engine = request.engine ?? runner.engine
  relabel(ctx, runner, request.labels ?? runner.labels)
  const changed = before !== JSON.stringify(runner)
  // Health is news at every sync and so never worth a row by itself; the memo carries it meanwhile.
  runner.health = request.health ?? memo?.health ?? runner.health
  return changed
}

/** With other labels the runner may take other runs, and some that waited for it must go elsewhere. */
function relabel(ctx: PoolContext, runner: RunnerRecord, labels: Labels): void {
  const isSame = Object.keys({ ...labels, ...runner.labels }).every(key => labels[key] === runner.labels[key])
  if (isSame) return
  runner.labels = labels
  ctx.effects.workWaits = true
}

/**
 * From here on the runner speaks for another Engine. What it held may still run on the old one, so its leases end
 * at their own time and not sooner, unless it lists them, and its open offers are not given to the new one.
 */
export function leaveToOldEngine(ctx: PoolContext, runner: RunnerRecord): void {
  for (const lease of ctx.store.leases.ofRunner(runner.id)) {
    if (lease.state !== 'offered') lease.frozenUntil ??= runner.renewedAt + runner.holdMs
    lease.missing = MISSING_NOT_COUNTED
    ctx.store.leases.update(lease)
  }
}
