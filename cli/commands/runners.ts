import type { CommandUnknownOpts } from '@commander-js/extra-typings'
import { z } from 'zod'
import { Runner } from '../../protocol/admin-api.ts'
import { poolIdOf, runnerIdOf } from '../api/find.ts'
import type { Output } from '../output/output.ts'
import { type Column, fields } from '../output/table.ts'
import { ago, orDash, pairs } from '../output/words.ts'
import type { Open, Session } from '../session.ts'
import { ALL, CURSOR, examples, LIMIT, showList } from './list.ts'

export function addRunners(runners: CommandUnknownOpts, open: Open): void {
  addReading(runners, open)
  addDraining(runners, open)
  runners
    .command('remove')
    .description('remove a runner; its credential dies at once, its runs are queued again')
    .argument('<pool>', 'id or name')
    .argument('<runner>', 'id or name')
    .option('--force', 'queue its runs again now: for a while two attempts may run at once')
    .addHelpText('after', examples('certyn runners remove west rack-4'))
    .action(async (pool, runner, { force }) => {
      const session = open()
      const { id, path } = await placeOf(session, pool, runner)
      const query = { force: force ? 'true' : undefined }
      await session.api.call('DELETE', path, z.undefined(), { query })
      session.out.show({ id, removed: true }, () => [`removed ${id}`])
    })
}

function addReading(runners: CommandUnknownOpts, open: Open): void {
  runners
    .command('list')
    .description('list a pool’s runners')
    .argument('<pool>', 'id or name')
    .addOption(LIMIT)
    .addOption(ALL)
    .addOption(CURSOR)
    .addHelpText('after', examples('certyn runners list west'))
    .action(async (pool, options) => {
      const session = open()
      const path = `/pools/${await poolIdOf(session.api, pool)}/runners`
      await showList(session, options, { path, item: Runner, columns: columnsOf(session.out, Date.now()) })
    })
  runners
    .command('show')
    .description('show one runner with the runs it has')
    .argument('<pool>', 'id or name')
    .argument('<runner>', 'id or name')
    .addHelpText('after', examples('certyn runners show west rack-4'))
    .action(async (pool, runner) => {
      const session = open()
      const { path } = await placeOf(session, pool, runner)
      showRunner(session.out, await session.api.get(path, Runner))
    })
}

function addDraining(runners: CommandUnknownOpts, open: Open): void {
  runners
    .command('drain')
    .description('give a runner no new work; what it has goes on')
    .argument('<pool>', 'id or name')
    .argument('<runner>', 'id or name')
    .option('--note <text>', 'why, for whoever looks')
    .addHelpText('after', examples("certyn runners drain west rack-4 --note 'new disk'"))
    .action(async (pool, runner, { note }) => {
      const session = open()
      const { path } = await placeOf(session, pool, runner)
      const drained = await session.api.call('POST', `${path}/drain`, Runner, {
        body: { note },
        repeat: 'safe',
      })
      showRunner(session.out, drained)
    })
  runners
    .command('resume')
    .description('let a drained runner take work again')
    .argument('<pool>', 'id or name')
    .argument('<runner>', 'id or name')
    .addHelpText('after', examples('certyn runners resume west rack-4'))
    .action(async (pool, runner) => {
      const session = open()
      const { path } = await placeOf(session, pool, runner)
      showRunner(session.out, await session.api.call('POST', `${path}/resume`, Runner, { repeat: 'safe' }))
    })
}

async function placeOf(
  { api }: Session,
  pool: string,
  runner: string,
): Promise<{ id: string; path: string }> {
  const poolId = await poolIdOf(api, pool)
  const id = await runnerIdOf(api, poolId, runner)
  return { id, path: `/pools/${poolId}/runners/${id}` }
}

export function columnsOf(out: Output, now: number): Column<Runner>[] {
  return [
    { title: 'ID', of: runner => runner.id, isWhole: true },
    { title: 'NAME', of: runner => runner.name },
    { title: 'STATUS', of: runner => runner.status, paint: (cell, { status }) => out.colour(status, cell) },
    { title: 'SLOTS', of: ({ slots }) => `${slots.busy}/${slots.max}` },
    { title: 'HEARTBEAT', of: runner => ago(runner.last_heartbeat_at, now) },
    { title: 'VERSION', of: versionOf },
    { title: 'LABELS', of: runner => orDash(pairs(runner.labels)) },
    { title: 'NOTE', of: runner => runner.note ?? '' },
  ]
}

function versionOf({ version, version_behind, agent_version, agent_mismatch }: Runner): string {
  const remarks = [
    ...(version_behind ? ['behind'] : []),
    ...(agent_mismatch ? [`agent ${agent_version}`] : []),
  ]
  return remarks.length === 0 ? version : `${version} (${remarks.join(', ')})`
}

function showRunner(out: Output, runner: Runner): void {
  const { platform, engine, sessions } = runner
  out.show(runner, () =>
    fields(
      [
        ['id', runner.id],
        ['name', runner.name],
        ['status', runner.status],
        ['note', orDash(runner.note)],
        ['slots', `${runner.slots.busy} busy of ${runner.slots.max}`],
        ['runs', orDash(sessions.map(({ run_id }) => run_id).join(', '))],
        ['labels', orDash(pairs(runner.labels))],
        ['heartbeat', ago(runner.last_heartbeat_at, Date.now())],
        ['version', versionOf(runner)],
        ['platform', `${platform.os} ${platform.arch}, ${platform.cpus} CPUs, ${platform.memory_mb} MB`],
        ['engine', engine === null ? '-' : `Docker ${engine.version}`],
        ['registered', runner.registered_at],
      ],
      out.width,
    ),
  )
}
