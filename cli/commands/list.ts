import { Option } from '@commander-js/extra-typings'
import type { z } from 'zod'
import { pageOf } from '../../protocol/admin-api.ts'
import type { CallOptions } from '../api/control-plane.ts'
import { boundOf, pages } from '../api/pages.ts'
import { atLeastOne } from '../input/values.ts'
import { type Column, table } from '../output/table.ts'
import type { Session } from '../session.ts'

/** What every list takes, and how it is shown. */
export const LIMIT = new Option('--limit <count>', 'items at most (50 without it)').argParser(atLeastOne)
export const ALL = new Option('--all', 'every item there is')
export const CURSOR = new Option('--cursor <cursor>', 'go on where an earlier list ended')

export interface ListOptions {
  readonly limit?: number | undefined
  readonly all?: boolean | undefined
  readonly cursor?: string | undefined
}

export interface ListSpec<Item extends z.ZodType> {
  readonly path: string
  readonly item: Item
  readonly columns: readonly Column<z.output<Item>>[]
  readonly query?: CallOptions['query']
  readonly pageMax?: number
}

export async function showList<Item extends z.ZodType>(
  { api, out }: Session,
  options: ListOptions,
  { path, item, columns, query, pageMax }: ListSpec<Item>,
): Promise<void> {
  const Answer = pageOf(item)
  const page = await pages<z.output<Item>>(
    wanted => api.get(path, Answer, { query: { ...query, ...wanted } }),
    boundOf(options),
    pageMax,
  )
  out.show(page, () => table(columns, page.items, out.width))
  if (page.next_cursor !== null) out.note(`there are more: --all, or --cursor ${page.next_cursor}`)
}

/** For the end of a command's help. */
export function examples(...lines: readonly string[]): string {
  return ['', `Example${lines.length === 1 ? '' : 's'}:`, ...lines.map(line => `  $ ${line}`)].join('\n')
}
