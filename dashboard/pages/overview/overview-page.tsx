import { useQuery } from '@tanstack/react-query'
import { lazy, Suspense } from 'react'
import { Link } from 'wouter'
import type { Overview } from '../../../protocol/overview.ts'
import { TERMINAL_STATUSES } from '../../../protocol/run.ts'
import { messageOf } from '../../api/client.ts'
import { overviewQuery } from '../../api/overview.ts'
import { Loading } from '../../kit/list.tsx'
import { Page } from '../../kit/page.tsx'
import { SlotBar } from '../../kit/slot-bar.tsx'
import { RUN_WORDS } from '../../kit/status.tsx'
import { duration } from '../../kit/time.tsx'
import { Trouble } from '../../kit/trouble.tsx'
import { AttentionList } from './attention-list.tsx'

const HOURS = 24
const HistoryChart = lazy(() => import('./history-chart.tsx'))

/** Whether the fleet is well, at a glance. */
export default function OverviewPage() {
  const { data, error } = useQuery(overviewQuery(HOURS))
  return (
    <Page title="Overview">
      {data === undefined && error === null && <Loading />}
      {data === undefined && error !== null && <Trouble>{messageOf(error)}</Trouble>}
      {data !== undefined && (
        <>
          <Tiles overview={data} />
          <AttentionList attention={data.attention} unavailable={data.unavailable} />
          <section className="stack" aria-labelledby="history">
            <h2 id="history">Queue and busy slots, the last {HOURS} hours</h2>
            {data.samples.length < 2 ? (
              <p className="empty">There is a picture once runs have been queued for a few minutes.</p>
            ) : (
              <Suspense fallback={<Loading />}>
                <HistoryChart samples={data.samples} />
              </Suspense>
            )}
          </section>
        </>
      )}
    </Page>
  )
}

function Tiles({ overview: { now, outcomes } }: { readonly overview: Overview }) {
  return (
    <ul className="tiles">
      <li className="card">
        <h2>Runners online</h2>
        <p className="figure">
          {now.runners_online} <span className="soft">of {now.runners_total}</span>
        </p>
        <Link href="/environments/runners">Self-hosted runners</Link>
      </li>
      <li className="card">
        <h2>Slots busy</h2>
        <p className="figure">
          {now.slots_busy} <span className="soft">of {now.slots_total}</span>
        </p>
        <SlotBar busy={now.slots_busy} max={now.slots_total} />
      </li>
      <li className="card">
        <h2>Queued</h2>
        <p className="figure">{now.queued}</p>
        <Link href="/runs?status=queued">
          Oldest wait {now.oldest_queued_seconds === null ? '–' : duration(now.oldest_queued_seconds)}
        </Link>
      </li>
      <li className="card">
        <h2>Runs of the last {HOURS} h</h2>
        <dl className="facts">
          {TERMINAL_STATUSES.map(status => (
            <div key={status}>
              <dt>
                <Link href={`/runs?status=${status}`}>{RUN_WORDS[status]}</Link>
              </dt>
              <dd className="figure">{outcomes[status]}</dd>
            </div>
          ))}
        </dl>
      </li>
    </ul>
  )
}
