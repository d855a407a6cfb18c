import { Route } from 'wouter'
import { Missing } from '../kit/missing.tsx'
import { PoolsPage } from '../pages/pools/pools-page.tsx'
import { part } from './part.tsx'

/** Which page is at which path. The Worker serves the dashboard at just these: see worker/routes/pages.ts. */
const OverviewPage = part(() => import('../pages/overview/overview-page.tsx'))
const EnvironmentsPage = part(() => import('../pages/environments/environments-page.tsx'))
const PoolPage = part(() => import('../pages/pools/pool-page.tsx'))
const RunsPage = part(() => import('../pages/runs/runs-page.tsx'))
const RunPage = part(() => import('../pages/runs/run-page.tsx'))
const LiveLinksPage = part(() => import('../pages/administration/live-links-page.tsx'))
const ApiKeysPage = part(() => import('../pages/administration/api-keys-page.tsx'))
const MembersPage = part(() => import('../pages/administration/members-page.tsx'))
const AuditPage = part(() => import('../pages/administration/audit-page.tsx'))

const PARTS = [
  { path: '/', page: OverviewPage },
  { path: '/environments', page: EnvironmentsPage },
  { path: '/runs', page: RunsPage },
  { path: '/live-links', page: LiveLinksPage },
  { path: '/api-keys', page: ApiKeysPage },
  { path: '/members', page: MembersPage },
  { path: '/audit', page: AuditPage },
] as const

export const routes = [
  ...PARTS.map(({ path, page }) => <Route key={path} path={path} component={page} />),
  <Route key="pools" path="/environments/runners" component={PoolsPage} />,
  <Route key="pool" path="/environments/runners/:pool_id" component={PoolPage} />,
  <Route key="run" path="/runs/:run_id" component={RunPage} />,
  <Route key="other">
    <Missing what="page" back={{ label: 'Overview', href: '/' }} />
  </Route>,
]

/** The part that the page at a path is in, before it is shown; what cannot be loaded is found out when it is. */
export async function loadPage(path: string): Promise<void> {
  const found = PARTS.find(part => part.path === path)?.page ?? partBelow(path)
  await found?.load().catch(() => undefined)
}

function partBelow(path: string) {
  if (path.startsWith('/environments/runners/')) return PoolPage
  return path.startsWith('/runs/') ? RunPage : undefined
}
