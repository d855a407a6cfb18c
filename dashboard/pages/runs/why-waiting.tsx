import { useQuery } from '@tanstack/react-query'
import type { Placement, PlacementReason, WaitingFor } from '../../../protocol/run.ts'
import { placementQuery } from '../../api/runs.ts'
import { Badge } from '../../kit/badge.tsx'
import { Table } from '../../kit/table.tsx'

const WAITS: Readonly<Record<WaitingFor, string>> = {
  runner: 'It waits for a runner to come online.',
  slot: 'It waits for a free slot: every runner that may take it is busy.',
  label: 'It waits for a runner that has its labels.',
  resume: 'It waits until the pool or a runner is resumed.',
  memory: 'It waits for a runner with enough memory.',
}

const REASONS: Readonly<Record<Exclude<PlacementReason, `label:${string}`>, string>> = {
  offline: 'offline',
  draining: 'draining',
  pool_draining: 'the pool is draining',
  no_slot: 'no free slot',
  memory: 'too little memory',
  disk: 'too little disk space',
  policy: 'its policy forbids the run',
  already_tried: 'had it before; others are tried first',
  protocol: 'its release is too old',
}

/** Why a queued run is not running yet, runner by runner. */
export function WhyWaiting({ runId }: { readonly runId: string }) {
  const { data } = useQuery(placementQuery(runId))
  return (
    <section className="stack" aria-labelledby="waiting">
      <h2 id="waiting">Why it waits</h2>
      <p role="status">{data === undefined ? '' : sentenceOf(data)}</p>
      {data !== undefined && data.candidates.length > 0 && (
        <Table label="Runners that could take it" head={['Runner', 'May take it', 'Why not']}>
          {data.candidates.map(({ runner_id, name, eligible, reasons }) => (
            <tr key={runner_id}>
              <th scope="row">{name}</th>
              <td>{eligible ? <Badge tone="good">yes</Badge> : <Badge tone="calm">no</Badge>}</td>
              <td>{reasons.map(wordsOf).join(', ')}</td>
            </tr>
          ))}
        </Table>
      )}
    </section>
  )
}

function sentenceOf({ waiting_for, candidates }: Placement): string {
  if (waiting_for !== null) return WAITS[waiting_for]
  return candidates.some(({ eligible }) => eligible)
    ? 'A runner can take it and gets it with its next call.'
    : 'It is on its way.'
}

function wordsOf(reason: PlacementReason): string {
  return reason.startsWith('label:')
    ? `lacks the label ${reason.slice('label:'.length)}`
    : REASONS[reason as keyof typeof REASONS]
}
