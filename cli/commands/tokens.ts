import type { CommandUnknownOpts } from '@commander-js/extra-typings'
import { z } from 'zod'
import { CreatedRegistrationToken, RegistrationToken } from '../../protocol/admin-api.ts'
import { RegistrationTokenId } from '../../protocol/ids.ts'
import { poolIdOf } from '../api/find.ts'
import { as, atLeastOne, seconds } from '../input/values.ts'
import type { Column } from '../output/table.ts'
import { ago, orDash } from '../output/words.ts'
import type { Open } from '../session.ts'
import { ALL, CURSOR, examples, LIMIT, showList } from './list.ts'

type Token = z.output<typeof RegistrationToken>

export function addTokens(program: CommandUnknownOpts, open: Open): void {
  const tokens = program
    .command('tokens')
    .description('registration tokens, which let new runners join a pool')
  tokens
    .command('create')
    .description('create a token; its secret is shown this once, with the command that starts a runner')
    .argument('<pool>', 'id or name')
    .option('--name <name>', 'what it is for')
    .option('--expires <duration>', 'from now on, such as 90s, 15m, 2h or 7d (1h without it)', seconds)
    .option('--max-uses <count>', 'how many runners may join with it (any number without it)', atLeastOne)
    .addHelpText('after', examples('certyn tokens create west --name rack-4 --expires 2h --max-uses 1'))
    .action(async (pool, { name, expires, maxUses }) => {
      const { api, out } = open()
      const path = `/pools/${await poolIdOf(api, pool)}/registration-tokens`
      const body = { name, expires_in_seconds: expires, max_uses: maxUses }
      const token = await api.call('POST', path, CreatedRegistrationToken, { body })
      out.show(token, () => [
        `token ${token.id} is good until ${token.expires_at}`,
        `secret, shown this once: ${token.secret}`,
        '',
        'On a Docker host:',
        '',
        token.docker_run,
      ])
    })
  tokens
    .command('list')
    .description('list a pool’s tokens; secrets are never shown again')
    .argument('<pool>', 'id or name')
    .addOption(LIMIT)
    .addOption(ALL)
    .addOption(CURSOR)
    .addHelpText('after', examples('certyn tokens list west'))
    .action(async (pool, options) => {
      const session = open()
      const path = `/pools/${await poolIdOf(session.api, pool)}/registration-tokens`
      await showList(session, options, { path, item: RegistrationToken, columns: columnsAt(Date.now()) })
    })
  tokens
    .command('revoke')
    .description('let nobody join with a token any more; runners that have joined stay')
    .argument('<pool>', 'id or name')
    .argument('<token>', 'id', as(RegistrationTokenId))
    .addHelpText('after', examples('certyn tokens revoke west tok_01kb4yq3v8e9c9v3m2d0f4k6ha'))
    .action(async (pool, id) => {
      const { api, out } = open()
      const path = `/pools/${await poolIdOf(api, pool)}/registration-tokens/${id}`
      await api.call('DELETE', path, z.undefined())
      out.show({ id, revoked: true }, () => [`revoked ${id}`])
    })
}

function columnsAt(now: number): Column<Token>[] {
  return [
    { title: 'ID', of: token => token.id, isWhole: true },
    { title: 'NAME', of: token => orDash(token.name) },
    { title: 'HINT', of: token => token.hint },
    { title: 'USES', of: token => `${token.uses}/${token.max_uses ?? 'any'}` },
    { title: 'ONLINE', of: token => String(token.runners_online) },
    { title: 'STATE', of: token => stateOf(token, now) },
    { title: 'LAST USED', of: token => ago(token.last_used_at, now) },
  ]
}

function stateOf({ revoked_at, expires_at, max_uses, uses }: Token, now: number): string {
  if (revoked_at !== null) return 'revoked'
  if (Date.parse(expires_at) <= now) return 'expired'
  if (max_uses !== null && uses >= max_uses) return 'used up'
  return `expires ${ago(expires_at, now)}`
}
