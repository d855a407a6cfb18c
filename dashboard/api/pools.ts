import { queryOptions } from '@tanstack/react-query'
import * as z from 'zod'
import { CreatedRegistrationToken, Pool, RegistrationToken, Runner } from '../../protocol/admin-api.ts'
import { call } from './client.ts'
import { listQuery } from './lists.ts'
import { namedSource } from './named.ts'
import { REFRESH_MS, SLOW_REFRESH_MS } from './query-client.ts'

/** Pools, their runners and their tokens. */

export const poolsQuery = listQuery(['pools'], '/pools', Pool)

export const poolNames = namedSource('pools', '/pools')

export const poolQuery = (poolId: string) =>
  queryOptions({
    queryKey: ['pools', poolId],
    queryFn: ({ signal }) => call(`/pools/${poolId}`, Pool, { signal }),
    refetchInterval: REFRESH_MS,
  })

export const runnersQuery = (poolId: string) =>
  listQuery(['pools', poolId, 'runners'], `/pools/${poolId}/runners`, Runner)

export const runnerQuery = (poolId: string, runnerId: string) =>
  queryOptions({
    queryKey: ['pools', poolId, 'runners', runnerId],
    queryFn: ({ signal }) => call(`/pools/${poolId}/runners/${runnerId}`, Runner, { signal }),
    staleTime: SLOW_REFRESH_MS,
  })

export const tokensQuery = (poolId: string) =>
  listQuery(['pools', poolId, 'tokens'], `/pools/${poolId}/registration-tokens`, RegistrationToken)

export const createPool = (body: { readonly name: string; readonly description: string }): Promise<Pool> =>
  call('/pools', Pool, { method: 'POST', body })

export const updatePool = (
  poolId: string,
  body: { readonly name: string; readonly description: string },
): Promise<Pool> => call(`/pools/${poolId}`, Pool, { method: 'PATCH', body })

export const deletePool = (poolId: string): Promise<undefined> =>
  call(`/pools/${poolId}`, z.undefined(), { method: 'DELETE' })

export const drainPool = (poolId: string, note: string): Promise<Pool> =>
  call(`/pools/${poolId}/drain`, Pool, { method: 'POST', body: noteBody(note) })

export const resumePool = (poolId: string): Promise<Pool> =>
  call(`/pools/${poolId}/resume`, Pool, { method: 'POST' })

export const drainRunner = (poolId: string, runnerId: string, note: string): Promise<Runner> =>
  call(`/pools/${poolId}/runners/${runnerId}/drain`, Runner, { method: 'POST', body: noteBody(note) })

export const resumeRunner = (poolId: string, runnerId: string): Promise<Runner> =>
  call(`/pools/${poolId}/runners/${runnerId}/resume`, Runner, { method: 'POST' })

export const removeRunner = (poolId: string, runnerId: string): Promise<undefined> =>
  call(`/pools/${poolId}/runners/${runnerId}`, z.undefined(), { method: 'DELETE' })

export const createToken = (
  poolId: string,
  body: {
    readonly name?: string
    readonly expires_in_seconds: number
    readonly max_uses: number | null
  },
): Promise<z.output<typeof CreatedRegistrationToken>> =>
  call(`/pools/${poolId}/registration-tokens`, CreatedRegistrationToken, { method: 'POST', body })

export const revokeToken = (poolId: string, tokenId: string): Promise<undefined> =>
  call(`/pools/${poolId}/registration-tokens/${tokenId}`, z.undefined(), { method: 'DELETE' })

function noteBody(note: string): { note?: string } {
  return note === '' ? {} : { note }
}
