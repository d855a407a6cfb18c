import { useInfiniteQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { Link } from 'wouter'
import type { Runner } from '../../../protocol/admin-api.ts'
import { drainRunner, removeRunner, resumeRunner, runnersQuery } from '../../api/pools.ts'
import { useMay } from '../../app/session-gate.tsx'
import { Badge } from '../../kit/badge.tsx'
import { Button } from '../../kit/button.tsx'
import { Confirm } from '../../kit/confirm.tsx'
import { count } from '../../kit/count.ts'
import { shortId } from '../../kit/ids.ts'
import { Labels } from '../../kit/labels.tsx'
import { List } from '../../kit/list.tsx'
import { SlotBar } from '../../kit/slot-bar.tsx'
import { RunnerBadge } from '../../kit/status.tsx'
import { Table } from '../../kit/table.tsx'
import { Ago } from '../../kit/time.tsx'
import { useAction } from '../../kit/use-action.ts'
import { DrainDialog } from './drain-dialog.tsx'

export function RunnersTable({ poolId }: { readonly poolId: string }) {
  const runners = useInfiniteQuery(runnersQuery(poolId))
  return (
    <section className="stack" aria-labelledby="runners">
      <h2 id="runners">Runners</h2>
      <List
        query={runners}
        name="runners"
        empty={<p>No runner has joined this pool yet. Create a token below to start one.</p>}
      >
        {items => (
          <Table
            label="Runners of this pool"
            head={['Name', 'Status', 'Last heartbeat', 'Slots', 'Runs', 'Labels', 'Version', '']}
          >
            {items.map(runner => (
              <RunnerRow key={runner.id} runner={runner} />
            ))}
          </Table>
        )}
      </List>
    </section>
  )
}

function RunnerRow({ runner }: { readonly runner: Runner }) {
  return (
    <tr>
      <th scope="row">
        {runner.name}
        <br />
        <span className="soft">
          {runner.platform.os} {runner.platform.arch}
        </span>
      </th>
      <td>
        <RunnerBadge status={runner.status} />
        {runner.note !== null && <p className="soft">{runner.note}</p>}
      </td>
      <td>
        <Ago at={runner.last_heartbeat_at} />
      </td>
      <td>
        <SlotBar busy={runner.slots.busy} max={runner.slots.max} />
      </td>
      <td>
        {runner.sessions.length === 0 && <span className="soft">none</span>}
        <ul>
          {runner.sessions.map(({ session_id, run_id }) => (
            <li key={session_id} className="whole">
              <Link href={`/runs/${run_id}`}>{shortId(run_id)}</Link>
            </li>
          ))}
        </ul>
      </td>
      <td>
        <Labels labels={runner.labels} />
      </td>
      <td>
        {runner.version} {runner.version_behind && <Badge tone="warn">behind</Badge>}
        {runner.agent_mismatch && (
          <p>
            <Badge tone="warn">agent {runner.agent_version}</Badge>{' '}
            <span className="soft">is of another release line</span>
          </p>
        )}
      </td>
      <td>
        <RunnerActions runner={runner} />
      </td>
    </tr>
  )
}

function RunnerActions({ runner }: { readonly runner: Runner }) {
  const { id, pool_id, name, status, slots } = runner
  const [open, setOpen] = useState<'drain' | 'remove' | null>(null)
  const isAdmin = useMay('admin')
  const changes = [['pools']]
  const resume = useAction(
    () => resumeRunner(pool_id, id),
    () => `${name} takes leases again`,
    changes,
  )
  const remove = useAction(
    () => removeRunner(pool_id, id),
    () => `Removed the runner ${name}`,
    changes,
    'form',
  )
  const close = () => setOpen(null)
  if (!isAdmin) return null
  return (
    <div className="actions">
      {status === 'draining' ? (
        <Button busy={resume.isPending} onClick={() => resume.mutate()} aria-label={`Resume ${name}`}>
          Resume
        </Button>
      ) : (
        <Button onClick={() => setOpen('drain')} aria-label={`Drain ${name}`}>
          Drain
        </Button>
      )}
      <Button look="danger" onClick={() => setOpen('remove')} aria-label={`Remove ${name}`}>
        Remove
      </Button>
      {open === 'drain' && (
        <DrainDialog
          what={name}
          drain={note => drainRunner(pool_id, id, note)}
          changes={changes}
          onClose={close}
        />
      )}
      {open === 'remove' && (
        <Confirm
          title="Remove the runner"
          name={name}
          action="Remove runner"
          onConfirm={() => remove.mutateAsync()}
          onClose={close}
        >
          Its credential stops working at once.
          {slots.busy > 0 &&
            ` ${count(slots.busy, 'session')} of it will end, and the runs are queued again.`}
        </Confirm>
      )}
    </div>
  )
}
