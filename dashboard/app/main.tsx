import { QueryClientProvider } from '@tanstack/react-query'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { Router } from 'wouter'
import { queryClient } from '../api/query-client.ts'
import { sessionQuery } from '../api/session.ts'
import { Notices } from '../kit/notices.tsx'
import { Onward } from './onward.tsx'
import { keepPlaces, navigateFromPlace } from './place.ts'
import { loadPage } from './routes.tsx'
import { SessionGate } from './session-gate.tsx'
import { Shell } from './shell.tsx'
import { signedInFor } from './signed-in-for.ts'
import { applyTheme } from './theme.ts'

const next = signedInFor(location.search)
const root = document.getElementById('root')
if (root === null) throw new Error('the page has no place for the dashboard')
applyTheme()
keepPlaces()
// Asked for together: nothing can be shown before both are there.
void queryClient.prefetchQuery(sessionQuery)
await loadPage(location.pathname)
createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={queryClient}>
      <Router aroundNav={navigateFromPlace}>
        <SessionGate>
          {session => (next === null ? <Shell session={session} /> : <Onward to={next} />)}
        </SessionGate>
      </Router>
      <Notices />
    </QueryClientProvider>
  </StrictMode>,
)
