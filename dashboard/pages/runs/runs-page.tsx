import { useInfiniteQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { Link, useSearchParams } from 'wouter'
import { RUN_STATUSES, type Run } from '../../../protocol/run.ts'
import { environmentNames } from '../../api/environments.ts'
import { useNames } from '../../api/named.ts'
import { poolNames } from '../../api/pools.ts'
import { type RunFilter, runsQuery } from '../../api/runs.ts'
import { useMay } from '../../app/session-gate.tsx'
import { Button } from '../../kit/button.tsx'
import { ChoiceField } from '../../kit/choice-field.tsx'
import { SelectField } from '../../kit/field.tsx'
import { shortId } from '../../kit/ids.ts'
import { List } from '../../kit/list.tsx'
import { Page } from '../../kit/page.tsx'
import { RUN_WORDS, RunBadge } from '../../kit/status.tsx'
import { Table } from '../../kit/table.tsx'
import { Ago, Elapsed } from '../../kit/time.tsx'
import { StartRunDialog } from './start-run-dialog.tsx'

/** Every run, newest first. What is filtered by is in the address, so that a list can be shared. */
export default function RunsPage() {
  const [filter, setFilter] = useFilter()
  const runs = useInfiniteQuery(runsQuery(filter))
  const rows = runs.data?.pages.flatMap(({ items }) => items) ?? []
  const environments = useNames(
    environmentNames,
    rows.map(({ environment_id }) => environment_id),
  )
  const mayStart = useMay('member')
  const [isStarting, setStarting] = useState(false)
  const start = (
    <Button look="primary" onClick={() => setStarting(true)}>
      Start a run
    </Button>
  )
  return (
    <Page title="Runs" actions={mayStart && start}>
      <Filters filter={filter} onChange={setFilter} />
      <List
        query={runs}
        awaitsNames={environments.isPending}
        empty={<NoRuns filter={filter} onClear={() => setFilter(NO_FILTER)} />}
      >
        {items => (
          <Table label="Runs" head={['Run', 'Status', 'Environment', 'Image', 'Queued', 'Took']}>
            {items.map(run => (
              <RunRow
                key={run.id}
                run={run}
                environment={environments.names.get(run.environment_id)}
                isKnown={environments.isWhole}
              />
            ))}
          </Table>
        )}
      </List>
      {isStarting && <StartRunDialog from={null} onClose={() => setStarting(false)} />}
    </Page>
  )
}

const NO_FILTER: RunFilter = { environment_id: '', pool_id: '', status: '' }

function NoRuns({ filter, onClear }: { readonly filter: RunFilter; readonly onClear: () => void }) {
  if (Object.values(filter).every(value => value === '')) {
    return <p>There is no run yet. Start one here, or create it through the API from your CI.</p>
  }
  return (
    <>
      <p>No run is like that.</p>
      <Button onClick={onClear}>Show all runs</Button>
    </>
  )
}

function useFilter(): [RunFilter, (change: Partial<RunFilter>) => void] {
  const [search, setSearch] = useSearchParams()
  const filter: RunFilter = {
    environment_id: search.get('environment_id') ?? '',
    pool_id: search.get('pool_id') ?? '',
    status: RUN_STATUSES.find(status => status === search.get('status')) ?? '',
  }
  const change = (part: Partial<RunFilter>) =>
    setSearch(
      Object.entries({ ...filter, ...part }).filter(([, value]) => value !== ''),
      { replace: true },
    )
  return [filter, change]
}

interface FiltersProps {
  readonly filter: RunFilter
  readonly onChange: (change: Partial<RunFilter>) => void
}

function Filters({ filter, onChange }: FiltersProps) {
  return (
    <fieldset className="filters">
      <legend className="visually-hidden">Which runs</legend>
      <ChoiceField
        label="Environment"
        source={environmentNames}
        value={filter.environment_id}
        onChange={environment_id => onChange({ environment_id })}
        none="All"
      />
      <ChoiceField
        label="Pool"
        source={poolNames}
        value={filter.pool_id}
        onChange={pool_id => onChange({ pool_id })}
        none="All"
      />
      <SelectField
        label="Status"
        value={filter.status}
        onChange={status => onChange({ status })}
        options={[
          { value: '', label: 'All' },
          ...RUN_STATUSES.map(status => ({ value: status, label: RUN_WORDS[status] })),
        ]}
      />
    </fieldset>
  )
}

interface RunRowProps {
  readonly run: Run
  readonly environment: string | undefined
  /** Whether every environment is known: one that is not there was deleted. */
  readonly isKnown: boolean
}

function RunRow({ run, environment, isKnown }: RunRowProps) {
  return (
    <tr>
      <th scope="row">
        <Link href={`/runs/${run.id}`}>{shortId(run.id)}</Link>
      </th>
      <td>
        <RunBadge status={run.status} />
        {run.failure !== null && <p className="soft">{run.failure.code}</p>}
      </td>
      <td>
        {environment ?? <span className="soft">{isKnown ? 'deleted' : shortId(run.environment_id)}</span>}
      </td>
      <td>
        <code>{run.image}</code>
      </td>
      <td>
        <Ago at={run.queued_at} />
      </td>
      <td>{run.started_at === null ? '–' : <Elapsed from={run.started_at} to={run.finished_at} />}</td>
    </tr>
  )
}
