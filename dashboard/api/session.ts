import { type QueryClient, queryOptions } from '@tanstack/react-query'
import * as z from 'zod'
import { BrowserSession, ROLES, type Role } from '../../protocol/admin-api.ts'
import { call, Refused } from './client.ts'

/** Who is signed in; null for nobody. */
export const sessionQuery = queryOptions({
  queryKey: ['session'],
  staleTime: Number.POSITIVE_INFINITY,
  queryFn: async ({ signal }): Promise<BrowserSession | null> => {
    try {
      return await call('/session', BrowserSession, { signal, isSignIn: true })
    } catch (error) {
      if (error instanceof Refused && error.code === 'unauthenticated') return null
      throw error
    }
  },
})

export function signIn(body: {
  readonly api_key?: string
  readonly tenant?: string
}): Promise<BrowserSession> {
  return call('/session', BrowserSession, { method: 'POST', body, isSignIn: true })
}

export async function signOut(): Promise<void> {
  await call('/session', z.undefined(), { method: 'DELETE', isSignIn: true })
}

/** What one tenant's people read is not for the next one's. The session itself is watched by the page, and stays. */
export function changeSession(queries: QueryClient, session: BrowserSession | null): void {
  queries.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== sessionQuery.queryKey[0] })
  queries.setQueryData(sessionQuery.queryKey, session)
}

export function mayAct(session: BrowserSession, role: Role): boolean {
  return ROLES.indexOf(session.key.role) >= ROLES.indexOf(role)
}
