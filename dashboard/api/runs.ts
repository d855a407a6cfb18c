import { infiniteQueryOptions, queryOptions } from '@tanstack/react-query'
import { CreatedLiveLink } from '../../protocol/live.ts'
import {
  isTerminal,
  Placement,
  Run,
  RunEvent,
  type RunStatus,
  TERMINAL_STATUSES,
} from '../../protocol/run.ts'
import { Artifacts } from '../../protocol/session-files.ts'
import type { WatchMode } from '../../protocol/stream.ts'
import { call } from './client.ts'
import { listQuery } from './lists.ts'
import { REFRESH_MS } from './query-client.ts'

/** Runs and everything that is known of one. */

const LIVE_REFRESH_MS = 2_000

export interface RunFilter {
  readonly environment_id: string
  readonly pool_id: string
  readonly status: RunStatus | ''
}

export function runsQuery(filter: RunFilter) {
  const query = Object.entries(filter)
    .filter(([, value]) => value !== '')
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
    .join('&')
  return listQuery(['runs', 'list', filter], query === '' ? '/runs' : `/runs?${query}`, Run)
}

export const runQuery = (runId: string) =>
  queryOptions({
    queryKey: ['runs', runId],
    queryFn: ({ signal }) => call(`/runs/${runId}`, Run, { signal }),
    refetchInterval: ({ state: { data } }) =>
      data !== undefined && isTerminal(data.status) ? false : LIVE_REFRESH_MS,
  })

export const runEventsQuery = (runId: string) =>
  infiniteQueryOptions({
    ...listQuery(['runs', runId, 'events'], `/runs/${runId}/events`, RunEvent),
    // They are written a little after what they tell of.
    refetchInterval: ({ state: { data } }) =>
      data?.pages.some(({ items }) => items.some(({ type }) => isEnd(type))) === true
        ? false
        : LIVE_REFRESH_MS,
  })

function isEnd(type: RunEvent['type']): boolean {
  return TERMINAL_STATUSES.some(status => status === type)
}

export const placementQuery = (runId: string) =>
  queryOptions({
    queryKey: ['runs', runId, 'placement'],
    queryFn: ({ signal }) => call(`/runs/${runId}/placement`, Placement, { signal }),
    refetchInterval: LIVE_REFRESH_MS,
  })

export const artifactsQuery = (runId: string, isOver: boolean) =>
  queryOptions({
    queryKey: ['runs', runId, 'artifacts'],
    queryFn: ({ signal }) => call(`/runs/${runId}/artifacts`, Artifacts, { signal }),
    // They are brought after the end.
    refetchInterval: isOver ? REFRESH_MS : (false as const),
  })

export const createRun = (environmentId: string, body: object): Promise<Run> =>
  call(`/environments/${environmentId}/runs`, Run, {
    method: 'POST',
    body,
    headers: { 'idempotency-key': crypto.randomUUID() },
  })

export const cancelRun = (runId: string): Promise<Run> =>
  call(`/runs/${runId}/cancel`, Run, { method: 'POST' })

export const createLiveLink = (
  runId: string,
  body: { readonly mode: WatchMode; readonly expires_in_seconds: number; readonly max_viewers: number },
) => call(`/runs/${runId}/live-links`, CreatedLiveLink, { method: 'POST', body })

/** Where the bytes are; the cookie goes along. */
export function artifactUrl(runId: string, name: string): string {
  return `/api/v1/runs/${runId}/artifacts/${name.split('/').map(encodeURIComponent).join('/')}`
}

export function logUrl(runId: string): string {
  return `/api/v1/runs/${runId}/logs`
}
