import { useInfiniteQuery } from '@tanstack/react-query'
import type { ReactNode } from 'react'
import { Link } from 'wouter'
import { PoolId, RunId } from '../../../protocol/ids.ts'
import { apiKeysQuery, auditQuery } from '../../api/administration.ts'
import { shortId } from '../../kit/ids.ts'
import { List } from '../../kit/list.tsx'
import { Page } from '../../kit/page.tsx'
import { Table } from '../../kit/table.tsx'
import { Ago } from '../../kit/time.tsx'

/** Who did what to what, when and from where. */
export default function AuditPage() {
  const events = useInfiniteQuery(auditQuery)
  const { data: named, isPending } = useInfiniteQuery(apiKeysQuery)
  const keys = named?.pages.flatMap(({ items }) => items) ?? []
  const nameOf = (id: string) =>
    keys.find(key => key.id === id)?.name ?? <code title={id}>{shortId(id)}</code>
  return (
    <Page title="Audit">
      <List query={events} awaitsNames={isPending} empty={<p>Nothing has been changed or refused yet.</p>}>
        {items => (
          <Table label="Audit events" head={['When', 'Who', 'Did what', 'To what', 'From', 'Detail']}>
            {items.map(({ id, at, actor, action, target, address, detail }) => (
              <tr key={id}>
                <td>
                  <Ago at={at} />
                </td>
                <td>{nameOf(actor)}</td>
                <td title={action}>{action.replaceAll(/[._]/g, ' ')}</td>
                <td>
                  <Target id={target} name={nameOf(target)} />
                </td>
                <td className="whole">{address}</td>
                <td>{detail}</td>
              </tr>
            ))}
          </Table>
        )}
      </List>
    </Page>
  )
}

/** What has a page leads there. */
function Target({ id, name }: { readonly id: string; readonly name: ReactNode }) {
  if (RunId.safeParse(id).success) return <Link href={`/runs/${id}`}>{shortId(id)}</Link>
  if (PoolId.safeParse(id).success) return <Link href={`/environments/runners/${id}`}>{shortId(id)}</Link>
  return name
}
