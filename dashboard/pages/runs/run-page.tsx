import { useQuery } from '@tanstack/react-query'
import { lazy, Suspense, useState } from 'react'
import { Link } from 'wouter'
import { isTerminal, type Run } from '../../../protocol/run.ts'
import { messageOf } from '../../api/client.ts'
import { cancelRun, runQuery } from '../../api/runs.ts'
import { useMay } from '../../app/session-gate.tsx'
import { Button } from '../../kit/button.tsx'
import { shortId } from '../../kit/ids.ts'
import { Labels } from '../../kit/labels.tsx'
import { Loading } from '../../kit/list.tsx'
import { Page } from '../../kit/page.tsx'
import { RunBadge } from '../../kit/status.tsx'
import { Ago, Elapsed } from '../../kit/time.tsx'
import { Trouble } from '../../kit/trouble.tsx'
import { useAction } from '../../kit/use-action.ts'
import { Artifacts } from './artifacts.tsx'
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
  if (run === undefined) {
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
      {run.status === 'queued' && <WhyWaiting runId={run.id} />}
      {!isOver && run.session_id !== null && (
        <section className="stack" aria-labelledby="live">
          <h2 id="live">Live view</h2>
          <Suspense fallback={<Loading />}>
            <LiveView runId={run.id} />
          </Suspense>
        </section>
      )}
      <LogView key={`log ${run.id}`} runId={run.id} isOver={isOver} />
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
        <div>
          <dt>Pool</dt>
          <dd>
            <Link href={`/environments/runners/${run.pool_id}`}>{shortId(run.pool_id)}</Link>
          </dd>
        </div>
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
              {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it */}
              <pre className="command" tabIndex={0}>
                {run.command.join(' ')}
              </pre>
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

function RunActions({ run }: { readonly run: Run }) {
  const mayRun = useMay('member')
  const [isAgain, setAgain] = useState(false)
  const cancel = useAction(
    cancelRun,
    ({ status }) => (status === 'cancelled' ? 'Cancelled' : 'The run is being stopped'),
    [['runs']],
  )
  if (!mayRun) return null
  return (
    <>
      {isTerminal(run.status) ? (
        <Button look="primary" onClick={() => setAgain(true)}>
          Run again
        </Button>
      ) : (
        <Button look="danger" busy={cancel.isPending} onClick={() => cancel.mutate(run.id)}>
          Cancel run
        </Button>
      )}
      {isAgain && <StartRunDialog from={run} onClose={() => setAgain(false)} />}
    </>
  )
}
