import type { CommandUnknownOpts } from '@commander-js/extra-typings'
import type { z } from 'zod'
import { RunId } from '../../protocol/ids.ts'
import { Placement, Run, RunEvent, RunStatus } from '../../protocol/run.ts'
import { environmentIdOf, poolIdOf } from '../api/find.ts'
import { as } from '../input/values.ts'
import type { Output } from '../output/output.ts'
import { type Column, fields, table } from '../output/table.ts'
import { ago, commandLine, duration, orDash, pairs } from '../output/words.ts'
import type { Open } from '../session.ts'
import { ALL, CURSOR, examples, LIMIT, showList } from './list.ts'

export function addRuns(runs: CommandUnknownOpts, open: Open): void {
  addReading(runs, open)
  addExplaining(runs, open)
  runs
    .command('cancel')
    .description('cancel a run; one that has ended stays as it is')
    .argument('<run>', 'id', as(RunId))
    .addHelpText('after', examples('certyn runs cancel run_01kb4yq3v8e9c9v3m2d0f4k6ha'))
    .action(async id => {
      const { api, out } = open()
      showRun(out, await api.call('POST', `/runs/${id}/cancel`, Run, { repeat: 'safe' }))
    })
}

function addReading(runs: CommandUnknownOpts, open: Open): void {
  runs
    .command('list')
    .description('list runs, the newest first')
    .option('--environment <environment>', 'only those of this one, by id or name')
    .option('--pool <pool>', 'only those of this one, by id or name')
    .option('--status <status>', `only those that are ${RunStatus.options.join(', ')}`, as(RunStatus))
    .addOption(LIMIT)
    .addOption(ALL)
    .addOption(CURSOR)
    .addHelpText('after', examples('certyn runs list --pool west --status queued'))
    .action(async options => {
      const session = open()
      const { api, out } = session
      const query = {
        environment_id: options.environment && (await environmentIdOf(api, options.environment)),
        pool_id: options.pool && (await poolIdOf(api, options.pool)),
        status: options.status,
      }
      await showList(session, options, {
        path: '/runs',
        item: Run,
        columns: columnsOf(out, Date.now()),
        query,
      })
    })
  runs
    .command('show')
    .description('show one run as it is now')
    .argument('<run>', 'id', as(RunId))
    .addHelpText('after', examples('certyn runs show run_01kb4yq3v8e9c9v3m2d0f4k6ha --json'))
    .action(async id => {
      const { api, out } = open()
      showRun(out, await api.get(`/runs/${id}`, Run))
    })
}

function addExplaining(runs: CommandUnknownOpts, open: Open): void {
  runs
    .command('events')
    .description('list what happened to a run, the oldest first')
    .argument('<run>', 'id', as(RunId))
    .addOption(LIMIT)
    .addOption(ALL)
    .addOption(CURSOR)
    .addHelpText('after', examples('certyn runs events run_01kb4yq3v8e9c9v3m2d0f4k6ha --all'))
    .action(async (id, options) => {
      await showList(open(), options, { path: `/runs/${id}/events`, item: RunEvent, columns: EVENT_COLUMNS })
    })
  runs
    .command('placement')
    .description('say why a run waits, runner by runner')
    .argument('<run>', 'id', as(RunId))
    .addHelpText('after', examples('certyn runs placement run_01kb4yq3v8e9c9v3m2d0f4k6ha'))
    .action(async id => {
      const { api, out } = open()
      const placement = await api.get(`/runs/${id}/placement`, Placement)
      out.show(placement, () => [
        placement.waiting_for === null ? 'it does not wait' : `it waits for: ${placement.waiting_for}`,
        ...(placement.candidates.length === 0
          ? []
          : table(CANDIDATE_COLUMNS, placement.candidates, out.width)),
      ])
    })
}

function columnsOf(out: Output, now: number): Column<Run>[] {
  return [
    { title: 'ID', of: run => run.id, isWhole: true },
    { title: 'STATUS', of: run => run.status, paint: (cell, { status }) => out.colour(status, cell) },
    { title: 'QUEUED', of: run => ago(run.queued_at, now) },
    { title: 'TOOK', of: run => tookOf(run, now) },
    { title: 'WHY', of: run => orDash(run.failure?.code ?? null) },
    { title: 'IMAGE', of: run => run.image },
    { title: 'COMMAND', of: run => orDash(run.command === null ? null : commandLine(run.command)) },
  ]
}

const EVENT_COLUMNS: readonly Column<z.output<typeof RunEvent>>[] = [
  { title: 'AT', of: event => event.at, isWhole: true },
  { title: 'TYPE', of: event => event.type },
  { title: 'DETAIL', of: event => event.detail },
  { title: 'RUNNER', of: event => orDash(event.runner_id ?? null), isWhole: true },
  { title: 'SESSION', of: event => orDash(event.session_id ?? null), isWhole: true },
]

const CANDIDATE_COLUMNS: readonly Column<z.output<typeof Placement>['candidates'][number]>[] = [
  { title: 'RUNNER', of: candidate => candidate.name },
  { title: 'ELIGIBLE', of: candidate => (candidate.eligible ? 'yes' : 'no') },
  { title: 'REASONS', of: candidate => orDash(candidate.reasons.join(', ')) },
  { title: 'ID', of: candidate => candidate.runner_id, isWhole: true },
]

export function tookOf({ started_at, finished_at }: Run, now: number): string {
  if (started_at === null) return '-'
  const end = finished_at === null ? now : Date.parse(finished_at)
  return duration((end - Date.parse(started_at)) / 1000)
}

export function showRun(out: Output, run: Run): void {
  const { failure } = run
  out.show(run, () =>
    fields(
      [
        ['id', run.id],
        ['status', run.status],
        ['failure', failure === null ? '-' : `${failure.code} (${failure.domain}): ${failure.message}`],
        ['exit code', orDash(run.exit_code)],
        ['attempt', `${run.attempt} of ${run.max_attempts}`],
        ['queued', run.queued_at],
        ['started', orDash(run.started_at)],
        ['finished', orDash(run.finished_at)],
        ['took', tookOf(run, Date.now())],
        ['environment', run.environment_id],
        ['pool', run.pool_id],
        ['runner', orDash(run.runner_id)],
        ['session', orDash(run.session_id)],
        ['image', run.image_digest === null ? run.image : `${run.image} ${run.image_digest}`],
        ['command', orDash(run.command === null ? null : commandLine(run.command))],
        ['labels', orDash(pairs(run.labels))],
        ['metadata', orDash(pairs(run.metadata))],
        ['live view', `${run.stream.state}, ${run.stream.viewers} watching`],
      ],
      out.width,
    ),
  )
}
