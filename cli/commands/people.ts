import { type CommandUnknownOpts, Option } from '@commander-js/extra-typings'
import { z } from 'zod'
import { ApiKey, CreatedApiKey, Me, Member, ROLES } from '../../protocol/admin-api.ts'
import { ApiKeyId } from '../../protocol/ids.ts'
import { as, seconds } from '../input/values.ts'
import { type Column, fields } from '../output/table.ts'
import { ago, orDash } from '../output/words.ts'
import type { Open } from '../session.ts'
import { ALL, CURSOR, examples, LIMIT, showList } from './list.ts'

/** Who may do what. */
const ROLE = new Option('--role <role>', 'viewer watches, member also runs, admin does everything')
  .choices(ROLES)
  .makeOptionMandatory()

export function addPeople(program: CommandUnknownOpts, open: Open): void {
  program
    .command('whoami')
    .description('show which tenant and which key this is, and what is switched on')
    .addHelpText('after', examples('certyn whoami'))
    .action(async () => {
      const { api, out } = open()
      const me = await api.get('/me', Me)
      const { tenant, key, features } = me
      out.show(me, () =>
        fields(
          [
            ['control plane', api.address],
            ['tenant', `${tenant.name} (${tenant.slug}, ${tenant.id})`],
            ['key', `${key.name} (${key.id})`],
            ['role', key.role],
            ['expires', key.expires_at ?? 'never'],
            ['self-hosted runners', features.self_hosted_runners ? 'on' : 'off'],
            ['live view', features.self_hosted_relay ? 'on' : 'off'],
          ],
          out.width,
        ),
      )
    })
  addKeys(program.command('keys').description('API keys'), open)
  addMembers(program.command('members').description('people who sign in through Cloudflare Access'), open)
}

function addKeys(keys: CommandUnknownOpts, open: Open): void {
  keys
    .command('list')
    .description('list keys; secrets are never shown again')
    .addOption(LIMIT)
    .addOption(ALL)
    .addOption(CURSOR)
    .addHelpText('after', examples('certyn keys list'))
    .action(async options => {
      await showList(open(), options, { path: '/api-keys', item: ApiKey, columns: keyColumnsAt(Date.now()) })
    })
  keys
    .command('create')
    .description('create a key; its secret is shown this once')
    .argument('<name>', 'what people call it')
    .addOption(ROLE)
    .option('--expires <duration>', 'from now on, such as 12h or 90d (never without it)', seconds)
    .addHelpText('after', examples('certyn keys create ci --role member --expires 90d'))
    .action(async (name, { role, expires }) => {
      const { api, out } = open()
      const key = await api.call('POST', '/api-keys', CreatedApiKey, {
        body: { name, role, expires_in_seconds: expires },
      })
      out.show(key, () => [
        `key ${key.id} (${key.role}) is good ${key.expires_at === null ? 'until revoked' : `until ${key.expires_at}`}`,
        `secret, shown this once: ${key.secret}`,
      ])
    })
  keys
    .command('revoke')
    .description('let a key open nothing any more, at once')
    .argument('<key>', 'id', as(ApiKeyId))
    .addHelpText('after', examples('certyn keys revoke key_01kb4yq3v8e9c9v3m2d0f4k6ha'))
    .action(async id => {
      const { api, out } = open()
      await api.call('DELETE', `/api-keys/${id}`, z.undefined())
      out.show({ id, revoked: true }, () => [`revoked ${id}`])
    })
}

function addMembers(members: CommandUnknownOpts, open: Open): void {
  members
    .command('list')
    .description('list members')
    .addOption(LIMIT)
    .addOption(ALL)
    .addOption(CURSOR)
    .addHelpText('after', examples('certyn members list'))
    .action(async options => {
      await showList(open(), options, { path: '/members', item: Member, columns: MEMBER_COLUMNS })
    })
  members
    .command('set')
    .description('add a member, or give one another role')
    .argument('<email>', 'the address that Access vouches for')
    .addOption(ROLE)
    .addHelpText('after', examples('certyn members set ann@acme.example --role member'))
    .action(async (email, { role }) => {
      const { api, out } = open()
      const member = await api.call('PUT', '/members', Member, { body: { email, role }, repeat: 'safe' })
      out.show(member, () => [`${member.email} is ${member.role}`])
    })
  members
    .command('remove')
    .description('remove a member, who is signed out at once')
    .argument('<email>', 'as the list shows it')
    .addHelpText('after', examples('certyn members remove ann@acme.example'))
    .action(async email => {
      const { api, out } = open()
      await api.call('DELETE', '/members', z.undefined(), { body: { email } })
      out.show({ email, removed: true }, () => [`removed ${email}`])
    })
}

function keyColumnsAt(now: number): Column<ApiKey>[] {
  return [
    { title: 'ID', of: key => key.id, isWhole: true },
    { title: 'NAME', of: key => key.name },
    { title: 'ROLE', of: key => key.role },
    { title: 'HINT', of: key => key.hint },
    { title: 'STATE', of: key => keyStateOf(key, now) },
    { title: 'LAST USED', of: key => ago(key.last_used_at, now) },
  ]
}

function keyStateOf({ revoked_at, expires_at }: ApiKey, now: number): string {
  if (revoked_at !== null) return 'revoked'
  if (expires_at === null) return 'good'
  return Date.parse(expires_at) <= now ? 'expired' : `expires ${ago(expires_at, now)}`
}

const MEMBER_COLUMNS: readonly Column<Member>[] = [
  { title: 'EMAIL', of: member => member.email, isWhole: true },
  { title: 'ROLE', of: member => orDash(member.role) },
  { title: 'SINCE', of: member => member.created_at },
]
