import { useQuery, useQueryClient } from '@tanstack/react-query'
import { createContext, type ReactNode, useContext, useEffect, useState } from 'react'
import type { BrowserSession, Role } from '../../protocol/admin-api.ts'
import { messageOf, whenSignedOut } from '../api/client.ts'
import { changeSession, mayAct, sessionQuery } from '../api/session.ts'
import { Button } from '../kit/button.tsx'
import { Dialog } from '../kit/dialog.tsx'
import { Loading } from '../kit/list.tsx'
import { Trouble } from '../kit/trouble.tsx'
import { SignInForm } from './sign-in-form.tsx'

const Session = createContext<BrowserSession | null>(null)

/** @throws outside of the gate */
export function useSession(): BrowserSession {
  const session = useContext(Session)
  if (session === null) throw new Error('nobody is signed in')
  return session
}

export function useMay(role: Role): boolean {
  return mayAct(useSession(), role)
}

/**
 * Nothing is shown to whom nobody vouches for. Where the session ends under the user's hands the page stays as it is,
 * with whatever was typed, and signing in is asked for on top of it.
 */
export function SessionGate({ children }: { readonly children: (session: BrowserSession) => ReactNode }) {
  const queries = useQueryClient()
  const { data: session, error, refetch } = useQuery(sessionQuery)
  const [endedBecause, setEndedBecause] = useState<string | null>(null)
  useEffect(() => whenSignedOut(setEndedBecause), [])

  const signedIn = async (next: BrowserSession) => {
    setEndedBecause(null)
    if (session?.tenant.id !== next.tenant.id) return changeSession(queries, next)
    queries.setQueryData(sessionQuery.queryKey, next)
    await queries.invalidateQueries({ predicate: ({ queryKey }) => queryKey[0] !== sessionQuery.queryKey[0] })
  }

  if (session === undefined) {
    return error === null ? (
      <Loading />
    ) : (
      <main className="sign-in">
        <Trouble>{messageOf(error)}</Trouble>
        <Button onClick={() => void refetch()}>Try again</Button>
      </main>
    )
  }
  if (session === null) {
    return (
      <main className="sign-in">
        <h1>Self-hosted runners</h1>
        <SignInForm reason={null} onSignedIn={next => void signedIn(next)} />
      </main>
    )
  }
  return (
    <Session value={session}>
      {children(session)}
      {endedBecause !== null && (
        <Dialog title="Sign in again" isRequired onClose={() => undefined}>
          <SignInForm reason={endedBecause} onSignedIn={next => void signedIn(next)} />
        </Dialog>
      )}
    </Session>
  )
}
