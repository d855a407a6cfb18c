import { QueryClientProvider } from '@tanstack/react-query'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { queryClient } from '../api/query-client.ts'
import { Notices } from '../kit/notices.tsx'
import { SessionGate } from './session-gate.tsx'
import { Shell } from './shell.tsx'
import { applyTheme } from './theme.ts'

const root = document.getElementById('root')
if (root === null) throw new Error('the page has no place for the dashboard')
applyTheme()
createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={queryClient}>
      <SessionGate>{session => <Shell session={session} />}</SessionGate>
      <Notices />
    </QueryClientProvider>
  </StrictMode>,
)
