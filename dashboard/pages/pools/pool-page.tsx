import { useInfiniteQuery, useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { useLocation } from 'wouter'
import type { Pool } from '../../../protocol/admin-api.ts'
import { messageOf } from '../../api/client.ts'
import { deletePool, drainPool, poolQuery, resumePool, runnersQuery } from '../../api/pools.ts'
import { useMay } from '../../app/session-gate.tsx'
import { Badge } from '../../kit/badge.tsx'
import { Button } from '../../kit/button.tsx'
import { Confirm } from '../../kit/confirm.tsx'
import { Loading } from '../../kit/list.tsx'
import { isMissing, Missing } from '../../kit/missing.tsx'
import { Page } from '../../kit/page.tsx'
import { SlotBar } from '../../kit/slot-bar.tsx'
import { duration } from '../../kit/time.tsx'
import { Trouble } from '../../kit/trouble.tsx'
import { useAction } from '../../kit/use-action.ts'
import { DrainDialog } from './drain-dialog.tsx'
import { PoolSettingsDialog } from './pool-settings-dialog.tsx'
import { RunnersTable } from './runners-table.tsx'
import { TokensTable } from './tokens-table.tsx'

/** One pool: its runners, the tokens that let more of them in, and the switch that takes it out of work. */
export default function PoolPage({ params: { pool_id } }: { readonly params: { readonly pool_id: string } }) {
  const { data: pool, error } = useQuery(poolQuery(pool_id))
  // Shown together: runners that came later would push the tokens down.
  const { isPending: areRunnersAwaited } = useInfiniteQuery(runnersQuery(pool_id))
  const trail = [
    { label: 'Environments', href: '/environments' },
    { label: 'Self-hosted runners', href: '/environments/runners' },
  ]
  if (pool === undefined && isMissing(error))
    return <Missing what="pool" back={{ label: 'All pools', href: '/environments/runners' }} />
  if (pool === undefined || areRunnersAwaited) {
    return (
      <Page title="Pool" trail={trail}>
        {error === null ? <Loading /> : <Trouble>{messageOf(error)}</Trouble>}
      </Page>
    )
  }
  return (
    <Page title={pool.name} trail={trail} actions={<PoolActions pool={pool} />}>
      <PoolFacts pool={pool} />
      <RunnersTable poolId={pool.id} />
      <TokensTable poolId={pool.id} />
    </Page>
  )
}

function PoolFacts({ pool: { description, state, note, stats } }: { readonly pool: Pool }) {
  return (
    <section className="card" aria-label="The pool at a glance">
      {description !== '' && <p>{description}</p>}
      {state === 'draining' && (
        <p>
          <Badge tone="warn">draining</Badge> No new lease is given in this pool; what runs goes on to its
          end.
          {note !== null && ` Note: ${note}`}
        </p>
      )}
      {stats.queued > 0 && stats.runners_online === 0 && (
        <p>
          <Badge tone="bad">no runner online</Badge> {stats.queued} waiting. Create a registration token below
          and start a runner with it.
        </p>
      )}
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

function PoolActions({ pool }: { readonly pool: Pool }) {
  const [open, setOpen] = useState<'drain' | 'settings' | 'delete' | null>(null)
  const [, go] = useLocation()
  const isAdmin = useMay('admin')
  const resume = useAction(resumePool, ({ name }) => `${name} gives leases again`, [['pools']])
  const remove = useAction(deletePool, () => `Deleted the pool ${pool.name}`, [['pools']], 'form')
  const close = () => setOpen(null)
  if (!isAdmin) return null
  return (
    <>
      {pool.state === 'active' ? (
        <Button onClick={() => setOpen('drain')}>Drain pool</Button>
      ) : (
        <Button look="primary" busy={resume.isPending} onClick={() => resume.mutate(pool.id)}>
          Resume pool
        </Button>
      )}
      <Button onClick={() => setOpen('settings')}>Settings</Button>
      <Button look="danger" onClick={() => setOpen('delete')}>
        Delete
      </Button>
      {open === 'drain' && (
        <DrainDialog
          what={pool.name}
          drain={note => drainPool(pool.id, note)}
          changes={[['pools']]}
          onClose={close}
        />
      )}
      {open === 'settings' && <PoolSettingsDialog pool={pool} onClose={close} />}
      {open === 'delete' && (
        <Confirm
          title="Delete the pool"
          name={pool.name}
          action="Delete pool"
          onConfirm={async () => {
            await remove.mutateAsync(pool.id)
            go('/environments/runners')
          }}
          onClose={close}
        >
          Its registration tokens go with it. A pool with live runners or runs is not deleted.
        </Confirm>
      )}
    </>
  )
}
