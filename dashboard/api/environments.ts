import { queryOptions } from '@tanstack/react-query'
import * as z from 'zod'
import { Environment, type ExecutionTarget } from '../../protocol/admin-api.ts'
import { call } from './client.ts'
import { listQuery } from './lists.ts'
import { namedSource } from './named.ts'
import { SLOW_REFRESH_MS } from './query-client.ts'

export const environmentsQuery = listQuery(['environments'], '/environments', Environment, SLOW_REFRESH_MS)

export const environmentNames = namedSource('environments', '/environments')
/** Those that runs can be created for. */
export const targetNames = namedSource('environments', '/environments?execution_target=self_hosted')

export const environmentQuery = (id: string) =>
  queryOptions({
    queryKey: ['environments', id],
    queryFn: ({ signal }) => call(`/environments/${id}`, Environment, { signal }),
    staleTime: SLOW_REFRESH_MS,
  })

export interface EnvironmentDraft {
  readonly name: string
  readonly execution_target: ExecutionTarget
  readonly pool_id: string | null
  readonly default_image: string | null
}

export const createEnvironment = (draft: EnvironmentDraft): Promise<Environment> =>
  call('/environments', Environment, { method: 'POST', body: draft })

export const updateEnvironment = (id: string, draft: EnvironmentDraft): Promise<Environment> =>
  call(`/environments/${id}`, Environment, { method: 'PATCH', body: draft })

export const deleteEnvironment = (id: string): Promise<undefined> =>
  call(`/environments/${id}`, z.undefined(), { method: 'DELETE' })
