import { useInfiniteQuery } from '@tanstack/react-query'
import { auditQuery } from '../../api/administration.ts'
import { List } from '../../kit/list.tsx'
import { Page } from '../../kit/page.tsx'
import { Table } from '../../kit/table.tsx'
import { Ago } from '../../kit/time.tsx'

/** Who did what to what, when and from where. */
export default function AuditPage() {
  const events = useInfiniteQuery(auditQuery)
  return (
    <Page title="Audit">
      <List query={events} empty={<p>Nothing has been changed or refused yet.</p>}>
        {items => (
          <Table label="Audit events" head={['When', 'Who', 'Did what', 'To what', 'From', 'Detail']}>
            {items.map(({ id, at, actor, action, target, address, detail }) => (
              <tr key={id}>
                <td>
                  <Ago at={at} />
                </td>
                <td>
                  <code>{actor}</code>
                </td>
                <td>{action}</td>
                <td>
                  <code>{target}</code>
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
