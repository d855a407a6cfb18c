import type { CommandUnknownOpts } from '@commander-js/extra-typings'
import { z } from 'zod'
import { Environment } from '../../protocol/admin-api.ts'
import type { ControlPlane } from '../api/control-plane.ts'
import { environmentIdOf, poolIdOf } from '../api/find.ts'
import { usage } from '../failure.ts'
import type { Output } from '../output/output.ts'
import { type Column, fields } from '../output/table.ts'
import { orDash } from '../output/words.ts'
import type { Open } from '../session.ts'
import { ALL, CURSOR, examples, LIMIT, showList } from './list.ts'

const COLUMNS: readonly Column<Environment>[] = [
  { title: 'ID', of: environment => environment.id, isWhole: true },
  { title: 'NAME', of: environment => environment.name },
  { title: 'TARGET', of: environment => environment.execution_target },
  { title: 'POOL', of: environment => orDash(environment.pool_id), isWhole: true },
  { title: 'DEFAULT IMAGE', of: environment => orDash(environment.default_image) },
]

export function addEnvironments(program: CommandUnknownOpts, open: Open): void {
  const environments = program.command('environments').description('where runs go')
  addReading(environments, open)
  addChanging(environments, open)
}

function addReading(environments: CommandUnknownOpts, open: Open): void {
  environments
    .command('list')
    .description('list environments and where their runs go')
    .addOption(LIMIT)
    .addOption(ALL)
    .addOption(CURSOR)
    .addHelpText('after', examples('certyn environments list'))
    .action(async options => {
      await showList(open(), options, { path: '/environments', item: Environment, columns: COLUMNS })
    })
  environments
    .command('show')
    .description('show one environment')
    .argument('<environment>', 'id or name')
    .addHelpText('after', examples('certyn environments show staging'))
    .action(async environment => {
      const { api, out } = open()
      const path = `/environments/${await environmentIdOf(api, environment)}`
      showEnvironment(out, await api.get(path, Environment))
    })
}

function addChanging(environments: CommandUnknownOpts, open: Open): void {
  environments
    .command('create')
    .description('create an environment')
    .argument('<name>', 'what people call it')
    .option('--pool <pool>', 'id or name of the pool its runs go to')
    .option('--cloud', 'its runs go to no pool of yours')
    .option('--image <image>', 'for runs that name none')
    .addHelpText('after', examples('certyn environments create staging --pool west'))
    .action(async (name, options) => {
      const { api, out } = open()
      const target = await targetOf(api, options)
      if (target === null) throw usage('say where its runs go: --pool <pool> or --cloud')
      const body = { name, ...target, default_image: options.image }
      showEnvironment(out, await api.call('POST', '/environments', Environment, { body }))
    })
  environments
    .command('edit')
    .description('change an environment; what is not named stays')
    .argument('<environment>', 'id or name')
    .option('--name <name>', 'its new name')
    .option('--pool <pool>', 'id or name of the pool its runs go to')
    .option('--cloud', 'its runs go to no pool of yours')
    .option('--image <image>', 'for runs that name none')
    .option('--clear-image', 'runs that name none get the control plane’s')
    .addHelpText('after', examples('certyn environments edit staging --pool east'))
    .action(async (environment, options) => {
      const { api, out } = open()
      const path = `/environments/${await environmentIdOf(api, environment)}`
      if (options.image !== undefined && options.clearImage) {
        throw usage('--image and --clear-image exclude each other')
      }
      const image = options.clearImage ? null : options.image
      const body = { name: options.name, ...(await targetOf(api, options)), default_image: image }
      showEnvironment(out, await api.call('PATCH', path, Environment, { body, repeat: 'safe' }))
    })
  environments
    .command('delete')
    .description('delete an environment; its runs stay')
    .argument('<environment>', 'id or name')
    .addHelpText('after', examples('certyn environments delete staging'))
    .action(async environment => {
      const { api, out } = open()
      const id = await environmentIdOf(api, environment)
      await api.call('DELETE', `/environments/${id}`, z.undefined())
      out.show({ id, deleted: true }, () => [`deleted ${id}`])
    })
}

/** @returns the part of a body that routes runs; null when nothing is said about it */
async function targetOf(
  api: ControlPlane,
  { pool, cloud }: { readonly pool?: string | undefined; readonly cloud?: true | undefined },
) {
  if (pool !== undefined && cloud) throw usage('--pool and --cloud exclude each other')
  if (pool !== undefined) return { execution_target: 'self_hosted', pool_id: await poolIdOf(api, pool) }
  return cloud ? { execution_target: 'cloud', pool_id: null } : null
}

function showEnvironment(out: Output, environment: Environment): void {
  out.show(environment, () =>
    fields(
      [
        ['id', environment.id],
        ['name', environment.name],
        ['execution target', environment.execution_target],
        ['pool', orDash(environment.pool_id)],
        ['default image', orDash(environment.default_image)],
        ['created', environment.created_at],
      ],
      out.width,
    ),
  )
}
