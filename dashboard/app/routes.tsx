import { lazy } from 'react'
import { Route } from 'wouter'
import { PoolsPage } from '../pages/pools/pools-page.tsx'

/** Which page is at which path. The Worker serves the dashboard at just these: see worker/routes/pages.ts. */
const EnvironmentsPage = lazy(() => import('../pages/environments/environments-page.tsx'))
const RunsPage = lazy(() => import('../pages/runs/runs-page.tsx'))
const RunPage = lazy(() => import('../pages/runs/run-page.tsx'))
const PoolPage = lazy(() => import('../pages/pools/pool-page.tsx'))
const ApiKeysPage = lazy(() => import('../pages/administration/api-keys-page.tsx'))
const MembersPage = lazy(() => import('../pages/administration/members-page.tsx'))
const AuditPage = lazy(() => import('../pages/administration/audit-page.tsx'))
const LiveLinksPage = lazy(() => import('../pages/administration/live-links-page.tsx'))
const OverviewPage = lazy(() => import('../pages/overview/overview-page.tsx'))

export const routes = [
  <Route key="overview" path="/" component={OverviewPage} />,
  <Route key="pools" path="/environments/runners" component={PoolsPage} />,
  <Route key="pool" path="/environments/runners/:pool_id" component={PoolPage} />,
  <Route key="environments" path="/environments" component={EnvironmentsPage} />,
  <Route key="runs" path="/runs" component={RunsPage} />,
  <Route key="run" path="/runs/:run_id" component={RunPage} />,
  <Route key="live-links" path="/live-links" component={LiveLinksPage} />,
  <Route key="api-keys" path="/api-keys" component={ApiKeysPage} />,
  <Route key="members" path="/members" component={MembersPage} />,
  <Route key="audit" path="/audit" component={AuditPage} />,
  <Route key="other">
    <p className="empty">There is no such page.</p>
  </Route>,
]
