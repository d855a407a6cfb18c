import type { CommandUnknownOpts } from '@commander-js/extra-typings'
import type { Runner } from '../../protocol/admin-api.ts'
import { allRunners, poolIdOf } from '../api/find.ts'
import { systemClock } from '../clock.ts'
import { EXIT } from '../exit-codes.ts'
import { atLeastOne, seconds } from '../input/values.ts'
import { listenForInterrupts } from '../interrupts.ts'
import { table } from '../output/table.ts'
import type { Open, Session } from '../session.ts'
import { examples } from './list.ts'
import { columnsOf } from './runners.ts'

const LOOK_MS = 2_000

export function addWatchRunners(runners: CommandUnknownOpts, open: Open): void {
  runners
    .command('watch')
    .description('show a pool’s runners as they change, until Ctrl-C; no terminal gets a line per change')
    .argument('<pool>', 'id or name')
    .option('--until-online <count>', 'end with 0 once so many are online', atLeastOne)
    .option('--wait-timeout <duration>', 'with --until-online: end with 8 when it takes longer', seconds)
    .addHelpText(
      'after',
      examples('certyn runners watch west', 'certyn runners watch west --until-online 1 --wait-timeout 5m'),
    )
    .action(async (pool, { untilOnline, waitTimeout }) => {
      const session = open()
      const poolId = await poolIdOf(session.api, pool)
      session.exitCode = await watch(session, poolId, {
        untilOnline: untilOnline ?? Number.POSITIVE_INFINITY,
        limitMs: waitTimeout === undefined ? Number.POSITIVE_INFINITY : waitTimeout * 1000,
      })
    })
}

async function watch(
  { api, out }: Session,
  poolId: string,
  { untilOnline, limitMs }: { readonly untilOnline: number; readonly limitMs: number },
): Promise<number> {
  const interrupts = listenForInterrupts()
  const end = Date.now() + limitMs
  let before: readonly Runner[] = []
  while (!interrupts.first.aborted) {
    const now = await allRunners(api, poolId)
    if (out.width !== null && !out.isJson) {
      out.redraw(table(columnsOf(out, Date.now()), now, out.width))
    } else {
      for (const change of changes(before, now)) out.item(change, () => lineOf(change))
    }
    if (now.filter(({ status }) => status === 'online').length >= untilOnline) return EXIT.done
    if (Date.now() >= end) return EXIT.gave_up_waiting
    before = now
    await systemClock.sleep(Math.min(LOOK_MS, end - Date.now()), [interrupts.first])
  }
  return interrupts.exitCode
}

export type Change =
  | { readonly type: 'runner'; readonly runner: Runner }
  | { readonly type: 'gone'; readonly id: string; readonly name: string }

/** What somebody who saw `before` has to be told; a heartbeat is no news. */
export function changes(before: readonly Runner[], now: readonly Runner[]): Change[] {
  const known = new Map(before.map(runner => [runner.id, newsOf(runner)]))
  const present = new Set(now.map(({ id }) => id))
  return [
    ...now
      .filter(runner => known.get(runner.id) !== newsOf(runner))
      .map(runner => ({ type: 'runner' as const, runner })),
    ...before
      .filter(({ id }) => !present.has(id))
      .map(({ id, name }) => ({ type: 'gone' as const, id, name })),
  ]
}

function newsOf({ last_heartbeat_at: _, ...rest }: Runner): string {
  return JSON.stringify(rest)
}

function lineOf(change: Change): string {
  if (change.type === 'gone') return `${change.id} ${change.name} is gone`
  const { id, name, status, slots } = change.runner
  return `${id} ${name} ${status}, ${slots.busy} of ${slots.max} slots busy`
}
