import type { CommandUnknownOpts } from '@commander-js/extra-typings'
import { z } from 'zod'
import { Pool, PoolPage } from '../../protocol/admin-api.ts'
import { POOL_PAGE_MAX } from '../../protocol/limits.ts'
import { poolIdOf } from '../api/find.ts'
import { boundOf, pages } from '../api/pages.ts'
import type { Output } from '../output/output.ts'
import { type Column, fields, table } from '../output/table.ts'
import { duration, orDash } from '../output/words.ts'
import type { Open } from '../session.ts'
import { ALL, CURSOR, examples, LIMIT } from './list.ts'

export function addPools(program: CommandUnknownOpts, open: Open): void {
  const pools = program.command('pools').description('groups of runners, and whether they take new work')
  addReading(pools, open)
  addChanging(pools, open)
  addDraining(pools, open)
}

function addReading(pools: CommandUnknownOpts, open: Open): void {
  pools
    .command('list')
    .description('list pools with their runners, slots and queue')
    .addOption(LIMIT)
    .addOption(ALL)
    .addOption(CURSOR)
    .addHelpText('after', examples('certyn pools list', 'certyn pools list --all --json'))
    .action(async options => {
      const { api, out } = open()
      const unavailable: string[] = []
      const page = await pages<Pool>(
        async query => {
          const answer = await api.get('/pools', PoolPage, { query })
          unavailable.push(...answer.unavailable)
          return answer
        },
        boundOf(options),
        POOL_PAGE_MAX,
      )
      out.show({ ...page, unavailable }, () => table(columnsOf(out), page.items, out.width))
      if (page.next_cursor !== null) out.note(`there are more: --all, or --cursor ${page.next_cursor}`)
      if (unavailable.length > 0) out.note(`these do not answer just now: ${unavailable.join(', ')}`)
    })
  pools
    .command('show')
    .description('show one pool')
    .argument('<pool>', 'id or name')
    .addHelpText('after', examples('certyn pools show west'))
    .action(async pool => {
      const { api, out } = open()
      showPool(out, await api.get(`/pools/${await poolIdOf(api, pool)}`, Pool))
    })
}

function addChanging(pools: CommandUnknownOpts, open: Open): void {
  pools
    .command('create')
    .description('create a pool')
    .argument('<name>', 'what people call it')
    .option('--description <text>', 'what it is for')
    .addHelpText(
      'after',
      examples("certyn pools create west --description 'Docker hosts in the west office'"),
    )
    .action(async (name, { description }) => {
      const { api, out } = open()
      showPool(out, await api.call('POST', '/pools', Pool, { body: { name, description } }))
    })
  pools
    .command('edit')
    .description('change a pool’s name or description')
    .argument('<pool>', 'id or name')
    .option('--name <name>', 'its new name')
    .option('--description <text>', 'its new description')
    .addHelpText('after', examples('certyn pools edit west --name west-1'))
    .action(async (pool, { name, description }) => {
      const { api, out } = open()
      const path = `/pools/${await poolIdOf(api, pool)}`
      const body = { name, description }
      showPool(out, await api.call('PATCH', path, Pool, { body, repeat: 'safe' }))
    })
  pools
    .command('delete')
    .description('delete a pool that has neither runners nor unfinished runs')
    .argument('<pool>', 'id or name')
    .addHelpText('after', examples('certyn pools delete west'))
    .action(async pool => {
      const { api, out } = open()
      const id = await poolIdOf(api, pool)
      await api.call('DELETE', `/pools/${id}`, z.undefined())
      out.show({ id, deleted: true }, () => [`deleted ${id}`])
    })
}

function addDraining(pools: CommandUnknownOpts, open: Open): void {
  pools
    .command('drain')
    .description('give the pool’s runners no new work; what runs goes on, new runs wait')
    .argument('<pool>', 'id or name')
    .option('--note <text>', 'why, for whoever looks')
    .addHelpText('after', examples("certyn pools drain west --note 'kernel update until noon'"))
    .action(async (pool, { note }) => {
      const { api, out } = open()
      const path = `/pools/${await poolIdOf(api, pool)}/drain`
      showPool(out, await api.call('POST', path, Pool, { body: { note }, repeat: 'safe' }))
    })
  pools
    .command('resume')
    .description('let a drained pool take work again')
    .argument('<pool>', 'id or name')
    .addHelpText('after', examples('certyn pools resume west'))
    .action(async pool => {
      const { api, out } = open()
      const path = `/pools/${await poolIdOf(api, pool)}/resume`
      showPool(out, await api.call('POST', path, Pool, { repeat: 'safe' }))
    })
}

function columnsOf(out: Output): Column<Pool>[] {
  return [
    { title: 'ID', of: pool => pool.id, isWhole: true },
    { title: 'NAME', of: pool => pool.name },
    { title: 'STATE', of: pool => pool.state, paint: (cell, pool) => out.colour(pool.state, cell) },
    { title: 'RUNNERS', of: ({ stats }) => `${stats.runners_online}/${stats.runners_total}` },
    { title: 'SLOTS', of: ({ stats }) => `${stats.slots_busy}/${stats.slots_total}` },
    { title: 'QUEUED', of: ({ stats }) => String(stats.queued) },
    { title: 'OLDEST', of: oldestOf },
    { title: 'NOTE', of: pool => pool.note ?? '' },
  ]
}

function showPool(out: Output, pool: Pool): void {
  const { stats } = pool
  out.show(pool, () =>
    fields(
      [
        ['id', pool.id],
        ['name', pool.name],
        ['description', orDash(pool.description)],
        ['state', pool.state],
        ['note', orDash(pool.note)],
        ['runners', `${stats.runners_online} online of ${stats.runners_total}`],
        ['slots', `${stats.slots_busy} busy of ${stats.slots_total}`],
        ['queued', `${stats.queued}, the oldest for ${oldestOf(pool)}`],
        ['created', pool.created_at],
      ],
      out.width,
    ),
  )
}

function oldestOf({ stats }: Pool): string {
  return stats.oldest_queued_seconds === null ? '-' : duration(stats.oldest_queued_seconds)
}
