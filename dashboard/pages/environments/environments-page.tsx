import { useInfiniteQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { Link } from 'wouter'
import type { Environment } from '../../../protocol/admin-api.ts'
import { deleteEnvironment, environmentsQuery } from '../../api/environments.ts'
import { useNames } from '../../api/named.ts'
import { poolNames } from '../../api/pools.ts'
import { useMay } from '../../app/session-gate.tsx'
import { Button } from '../../kit/button.tsx'
import { Confirm } from '../../kit/confirm.tsx'
import { shortId } from '../../kit/ids.ts'
import { List } from '../../kit/list.tsx'
import { Page } from '../../kit/page.tsx'
import { Table } from '../../kit/table.tsx'
import { useAction } from '../../kit/use-action.ts'
import { EnvironmentDialog } from './environment-dialog.tsx'

/** Where runs go. */
export default function EnvironmentsPage() {
  const environments = useInfiniteQuery(environmentsQuery)
  const rows = environments.data?.pages.flatMap(({ items }) => items) ?? []
  const pools = useNames(
    poolNames,
    rows.flatMap(({ pool_id }) => pool_id ?? []),
  )
  const isAdmin = useMay('admin')
  const [isCreating, setCreating] = useState(false)
  const create = (
    <Button look="primary" onClick={() => setCreating(true)}>
      Create environment
    </Button>
  )
  return (
    <Page title="Environments" actions={isAdmin && create}>
      <p className="soft">
        An environment says where its runs are executed. Set its execution target to self-hosted and select
        the pool whose runners are to take them: <Link href="/environments/runners">self-hosted runners</Link>
        .
      </p>
      <List
        query={environments}
        awaitsNames={pools.isPending}
        empty={
          <>
            <p>
              There is no environment yet. Runs are created for an environment, which routes them to a pool.
            </p>
            {isAdmin && create}
          </>
        }
      >
        {items => (
          <Table label="Environments" head={['Name', 'Execution target', 'Runner pool', 'Default image', '']}>
            {items.map(environment => (
              <EnvironmentRow
                key={environment.id}
                environment={environment}
                pool={pools.names.get(environment.pool_id ?? '')}
              />
            ))}
          </Table>
        )}
      </List>
      {isCreating && <EnvironmentDialog environment={null} onClose={() => setCreating(false)} />}
    </Page>
  )
}

interface EnvironmentRowProps {
  readonly environment: Environment
  /** Its pool's name. */
  readonly pool: string | undefined
}

function EnvironmentRow({ environment, pool }: EnvironmentRowProps) {
  const { id, name, execution_target, pool_id, default_image } = environment
  const [open, setOpen] = useState<'edit' | 'delete' | null>(null)
  const isAdmin = useMay('admin')
  const remove = useAction(
    () => deleteEnvironment(id),
    () => `Deleted the environment ${name}`,
    [['environments']],
    'form',
  )
  return (
    <tr>
      <th scope="row">
        <Link href={`/runs?environment_id=${id}`}>{name}</Link>
      </th>
      <td>{execution_target === 'self_hosted' ? 'Self-hosted runner' : 'Cloud'}</td>
      <td>
        {pool_id === null ? (
          <span className="soft">none</span>
        ) : (
          <Link href={`/environments/runners/${pool_id}`}>{pool ?? shortId(pool_id)}</Link>
        )}
      </td>
      <td>
        {default_image === null ? <span className="soft">the default</span> : <code>{default_image}</code>}
      </td>
      <td>
        {isAdmin && (
          <div className="actions">
            <Button onClick={() => setOpen('edit')} aria-label={`Edit ${name}`}>
              Edit
            </Button>
            <Button look="danger" onClick={() => setOpen('delete')} aria-label={`Delete ${name}`}>
              Delete
            </Button>
          </div>
        )}
        {open === 'edit' && <EnvironmentDialog environment={environment} onClose={() => setOpen(null)} />}
        {open === 'delete' && (
          <Confirm
            title="Delete the environment"
            name={name}
            action="Delete environment"
            onConfirm={() => remove.mutateAsync()}
            onClose={() => setOpen(null)}
          >
            Runs that were created for it go on. No more can be created.
          </Confirm>
        )}
      </td>
    </tr>
  )
}
