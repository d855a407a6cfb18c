import { type CommandUnknownOpts, Option } from '@commander-js/extra-typings'
import { z } from 'zod'
import { LiveLinkId, RunId } from '../../protocol/ids.ts'
import { CreatedLiveLink, LiveLink } from '../../protocol/live.ts'
import { isTerminal } from '../../protocol/run.ts'
import { WatchMode } from '../../protocol/stream.ts'
import { as, atLeastOne, seconds } from '../input/values.ts'
import type { Column } from '../output/table.ts'
import { ago } from '../output/words.ts'
import type { Open } from '../session.ts'
import { ALL, CURSOR, examples, LIMIT, showList } from './list.ts'

const EXPIRES_DEFAULT_SECONDS = 3600
const VIEWERS_DEFAULT = 10
const MODE = new Option('--mode <mode>', 'control lets whoever has the link type and click')
  .choices(WatchMode.options)
  .default('view' as const)

export function addLiveLinks(program: CommandUnknownOpts, open: Open): void {
  const links = program.command('live-links').description('links that let somebody without a key watch a run')
  links
    .command('create')
    .description('make a link; its secret is shown this once')
    .argument('<run>', 'id', as(RunId))
    .addOption(MODE)
    .option('--expires <duration>', 'from now on, such as 15m or 2h (1h without it)', seconds)
    .option('--max-viewers <count>', `at one time (${VIEWERS_DEFAULT} without it)`, atLeastOne)
    .addHelpText('after', examples('certyn live-links create run_01kb4yq3v8e9c9v3m2d0f4k6ha --expires 15m'))
    .action(async (runId, { mode, expires, maxViewers }) => {
      const { api, out } = open()
      const body = {
        mode,
        expires_in_seconds: expires ?? EXPIRES_DEFAULT_SECONDS,
        max_viewers: maxViewers ?? VIEWERS_DEFAULT,
      }
      const link = await api.call('POST', `/runs/${runId}/live-links`, CreatedLiveLink, { body })
      out.show(link, () => [link.url, `link ${link.id} is good until ${link.expires_at}`])
    })
  links
    .command('list')
    .description('list links, of one run or of all')
    .argument('[run]', 'id', as(RunId))
    .addOption(LIMIT)
    .addOption(ALL)
    .addOption(CURSOR)
    .addHelpText('after', examples('certyn live-links list'))
    .action(async (runId, options) => {
      const path = runId === undefined ? '/live-links' : `/runs/${runId}/live-links`
      await showList(open(), options, { path, item: LiveLink, columns: columnsAt(Date.now()) })
    })
  links
    .command('revoke')
    .description('let a link open nothing any more, and close what it has opened')
    .argument('<link>', 'id', as(LiveLinkId))
    .addHelpText('after', examples('certyn live-links revoke lnk_01kb4yq3v8e9c9v3m2d0f4k6ha'))
    .action(async id => {
      const { api, out } = open()
      await api.call('DELETE', `/live-links/${id}`, z.undefined())
      out.show({ id, revoked: true }, () => [`revoked ${id}`])
    })
}

function columnsAt(now: number): Column<LiveLink>[] {
  return [
    { title: 'ID', of: link => link.id, isWhole: true },
    { title: 'RUN', of: link => link.run_id, isWhole: true },
    { title: 'MODE', of: link => link.mode },
    { title: 'VIEWERS', of: link => `at most ${link.max_viewers}` },
    { title: 'STATE', of: link => stateAt(link, now) },
    { title: 'LAST USED', of: link => ago(link.last_used_at, now) },
  ]
}

function stateAt({ revoked_at, run_status, expires_at }: LiveLink, now: number): string {
  if (revoked_at !== null) return 'revoked'
  return run_status !== null && isTerminal(run_status) ? 'run ended' : `expires ${ago(expires_at, now)}`
}
