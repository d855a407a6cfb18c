import { useQuery } from '@tanstack/react-query'
import { lazy, Suspense, useState } from 'react'
import { Link } from 'wouter'
import { isTerminal, type Run } from '../../../protocol/run.ts'
import { messageOf } from '../../api/client.ts'
import { environmentQuery } from '../../api/environments.ts'
import { poolQuery, runnerQuery } from '../../api/pools.ts'
import { cancelRun, placementQuery, runQuery } from '../../api/runs.ts'
import { useMay } from '../../app/session-gate.tsx'
import { Button } from '../../kit/button.tsx'
import { Confirm } from '../../kit/confirm.tsx'
import { shortId } from '../../kit/ids.ts'
import { Labels } from '../../kit/labels.tsx'
import { Loading } from '../../kit/list.tsx'
import { isMissing, Missing } from '../../kit/missing.tsx'
import { Page } from '../../kit/page.tsx'
import { RunBadge } from '../../kit/status.tsx'
import { Ago, Elapsed } from '../../kit/time.tsx'
import { Trouble } from '../../kit/trouble.tsx'
import { useAction } from '../../kit/use-action.ts'
import { Artifacts } from './artifacts.tsx'
import { Command } from './command.tsx'
import { FailureNote } from './failure-note.tsx'
import { LogView } from './log-view.tsx'
import { StartRunDialog } from './start-run-dialog.tsx'
import { Timeline } from './timeline.tsx'
import { WhyWaiting } from './why-waiting.tsx'

/** Watching is a part of its own: most who look at a run do not. */
const LiveView = lazy(() => import('./live-view.tsx'))

/** One run: how it stands and why, its picture, its log and what it left. */
export default function RunPage({ params: { run_id } }: { readonly params: { readonly run_id: string } }) {
  const { data: run, error } = useQuery(runQuery(run_id))
  const trail = [{ label: 'Runs', href: '/runs' }]
  const isQueued = run?.status === 'queued'
  // Shown together: what came later would push everything below it down.
  const { isPending: isExplaining } = useQuery({ ...placementQuery(run_id), enabled: isQueued })
  if (run === undefined && isMissing(error))
    return <Missing what="run" back={{ label: 'All runs', href: '/runs' }} />
  if (run === undefined || (isQueued && isExplaining)) {
    return (
      <Page title="Run" trail={trail}>
        {error === null ? <Loading /> : <Trouble>{messageOf(error)}</Trouble>}
      </Page>
    )
  }
  const isOver = isTerminal(run.status)
  return (
    <Page title={`Run ${shortId(run.id)}`} trail={trail} actions={<RunActions run={run} />}>
      <RunFacts run={run} />
      {run.failure !== null && <FailureNote failure={run.failure} />}
      {isQueued && <WhyWaiting runId={run.id} />}
      {!isOver && run.session_id !== null && (
        <section className="stack" aria-labelledby="live">
          <h2 id="live">Live view</h2>
          <Suspense fallback={<Loading />}>
            <LiveView runId={run.id} />
          </Suspense>
        </section>
      )}
      <LogView key={`log ${run.id}`} run={run} />
      <Artifacts runId={run.id} isOver={isOver} />
      <Timeline runId={run.id} />
    </Page>
  )
}

function RunFacts({ run }: { readonly run: Run }) {
  return (
    <section className="card" aria-label="The run at a glance">
      <p role="status">
        <RunBadge status={run.status} />{' '}
        {run.exit_code !== null && <span className="soft">exit code {run.exit_code}</span>}
      </p>
      <dl className="facts">
        <div>
          <dt>Queued</dt>
          <dd>
            <Ago at={run.queued_at} />
          </dd>
        </div>
        <div>
          <dt>Took</dt>
          <dd>{run.started_at === null ? '–' : <Elapsed from={run.started_at} to={run.finished_at} />}</dd>
        </div>
        <div>
          <dt>Attempt</dt>
          <dd>
            {run.attempt} of {run.max_attempts}
          </dd>
        </div>
        <div>
          <dt>Priority</dt>
          <dd>{run.priority}</dd>
        </div>
        <RunPlaces run={run} />
        <div>
          <dt>Labels</dt>
          <dd>
            <Labels labels={run.labels} />
          </dd>
        </div>
        <div>
          <dt>Image</dt>
          <dd>
            <code>{run.image}</code>
          </dd>
        </div>
        {run.command !== null && (
          <div>
            <dt>Command</dt>
            <dd>
              <Command command={run.command} />
            </dd>
          </div>
        )}
      </dl>
      <p className="soft">
        <code>{run.id}</code>
      </p>
    </section>
  )
}

/** By name, as far as they are still there. */
function RunPlaces({ run: { environment_id, pool_id, runner_id } }: { readonly run: Run }) {
  const environment = useQuery(environmentQuery(environment_id)).data
  const pool = useQuery(poolQuery(pool_id)).data
  const runner = useQuery({ ...runnerQuery(pool_id, runner_id ?? ''), enabled: runner_id !== null }).data
  const poolPage = `/environments/runners/${pool_id}`
  return (
    <>
      <div>
        <dt>Environment</dt>
        <dd>
          <Link href={`/runs?environment_id=${environment_id}`}>
            {environment?.name ?? shortId(environment_id)}
          </Link>
        </dd>
      </div>
      <div>
        <dt>Pool</dt>
        <dd>
          <Link href={poolPage}>{pool?.name ?? shortId(pool_id)}</Link>
        </dd>
      </div>
      {runner_id !== null && (
        <div>
          <dt>Runner</dt>
          <dd>{runner?.name ?? shortId(runner_id)}</dd>
        </div>
      )}
    </>
  )
}

function RunActions({ run }: { readonly run: Run }) {
  const mayRun = useMay('member')
  const [open, setOpen] = useState<'again' | 'cancel' | null>(null)
  const close = () => setOpen(null)
  const cancel = useAction(
    cancelRun,
    ({ status }) => (status === 'cancelled' ? 'Cancelled' : 'The run is being stopped'),
    [['runs']],
    'form',
  )
  if (!mayRun) return null
  return (
    <>
      {isTerminal(run.status) ? (
        <Button look="primary" onClick={() => setOpen('again')}>
          Run again
        </Button>
      ) : (
        <Button look="danger" onClick={() => setOpen('cancel')}>
          Cancel run
        </Button>
      )}
      {open === 'again' && <StartRunDialog from={run} onClose={close} />}
      {open === 'cancel' && (
        <Confirm
          title={`Cancel ${shortId(run.id)}`}
          name={null}
          action="Cancel it"
          keep="Let it go on"
          onConfirm={() => cancel.mutateAsync(run.id)}
          onClose={close}
        >
          {run.session_id === null ? 'It will not be started.' : 'Its session is stopped on the runner.'}
        </Confirm>
      )}
    </>
  )
}
