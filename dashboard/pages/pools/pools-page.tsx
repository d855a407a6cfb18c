import { useInfiniteQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { Link } from 'wouter'
import type { Pool } from '../../../protocol/admin-api.ts'
import { poolsQuery } from '../../api/pools.ts'
import { useMay } from '../../app/session-gate.tsx'
import { Badge } from '../../kit/badge.tsx'
import { Button } from '../../kit/button.tsx'
import { List } from '../../kit/list.tsx'
import { Page } from '../../kit/page.tsx'
import { SlotBar } from '../../kit/slot-bar.tsx'
import { duration } from '../../kit/time.tsx'
import { CreatePoolDialog } from './create-pool-dialog.tsx'

/** Environments > Self-hosted runners: every pool, and whether it copes. */
export function PoolsPage() {
  const pools = useInfiniteQuery(poolsQuery)
  const isAdmin = useMay('admin')
  const [isCreating, setCreating] = useState(false)
  const create = (
    <Button look="primary" onClick={() => setCreating(true)}>
      Create pool
    </Button>
  )
  return (
    <Page
      title="Self-hosted runners"
      trail={[{ label: 'Environments', href: '/environments' }]}
      actions={isAdmin && create}
    >
      <List
        query={pools}
        empty={
          <>
            <p>There is no runner pool yet. A pool groups the runners of one private network.</p>
            {isAdmin ? create : <p>An admin of your tenant can create one.</p>}
          </>
        }
      >
        {items => (
          <ul className="cards">
            {items.map(pool => (
              <li key={pool.id}>
                <PoolCard pool={pool} />
              </li>
            ))}
          </ul>
        )}
      </List>
      {isCreating && <CreatePoolDialog onClose={() => setCreating(false)} />}
    </Page>
  )
}

function PoolCard({ pool: { id, name, description, state, note, stats } }: { readonly pool: Pool }) {
  const isStuck = stats.queued > 0 && stats.runners_online === 0
  return (
    <section className="card">
      <h2>
        <Link href={`/environments/runners/${id}`}>{name}</Link>
        {state === 'draining' && <Badge tone="warn">draining</Badge>}
        {isStuck && <Badge tone="bad">no runner online</Badge>}
      </h2>
      {description !== '' && <p className="soft">{description}</p>}
      {note !== null && <p className="soft">Note: {note}</p>}
      <SlotBar busy={stats.slots_busy} max={stats.slots_total} />
      <dl className="facts">
        <div>
          <dt>Runners online</dt>
          <dd>
            {stats.runners_online} of {stats.runners_total}
          </dd>
        </div>
        <div>
          <dt>Queued</dt>
          <dd>{stats.queued}</dd>
        </div>
        <div>
          <dt>Oldest wait</dt>
          <dd>{stats.oldest_queued_seconds === null ? '–' : duration(stats.oldest_queued_seconds)}</dd>
        </div>
      </dl>
    </section>
  )
}
