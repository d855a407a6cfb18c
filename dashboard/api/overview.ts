import { queryOptions } from '@tanstack/react-query'
import { Overview } from '../../protocol/overview.ts'
import { call } from './client.ts'
import { REFRESH_MS } from './query-client.ts'

export const overviewQuery = (hours: number) =>
  queryOptions({
    queryKey: ['overview', hours],
    queryFn: ({ signal }) => call(`/overview?hours=${hours}`, Overview, { signal }),
    refetchInterval: REFRESH_MS,
  })
