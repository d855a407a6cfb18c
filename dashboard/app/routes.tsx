import { lazy } from 'react'
import { Route } from 'wouter'
import { PoolsPage } from '../pages/pools/pools-page.tsx'

/** Which page is at which path. The Worker serves the dashboard at just these: see worker/routes/pages.ts. */
const PoolPage = lazy(() => import('../pages/pools/pool-page.tsx'))
const OverviewPage = lazy(() => import('../pages/overview/overview-page.tsx'))

export const routes = [
  <Route key="overview" path="/" component={OverviewPage} />,
  <Route key="pools" path="/environments/runners" component={PoolsPage} />,
  <Route key="pool" path="/environments/runners/:pool_id" component={PoolPage} />,
  <Route key="other">
    <p className="empty">There is no such page.</p>
  </Route>,
]
