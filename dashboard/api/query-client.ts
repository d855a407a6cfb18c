import { QueryClient } from '@tanstack/react-query'
import { Refused } from './client.ts'

/** What is on screen asks again this often; a tab in the background does not. */
export const REFRESH_MS = 5_000
/** Lists that only people change. */
export const SLOW_REFRESH_MS = 30_000
const RETRIES = 3

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 2_000,
      // What was refused would be refused again; what did not arrive may arrive.
      retry: (failures, error) =>
        !(error instanceof Refused && error.problem.status < 500) && failures < RETRIES,
      networkMode: 'always',
    },
    mutations: { networkMode: 'always' },
  },
})
