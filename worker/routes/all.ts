import type { Route } from '../http/route.ts'
import { apiKeyRoutes } from './api-keys.ts'
import { auditEventRoutes } from './audit-events.ts'
import { environmentRoutes } from './environments.ts'
import { liveRoutes } from './live.ts'
import { memberRoutes } from './members.ts'
import { overviewRoutes } from './overview.ts'
import { pageRoutes } from './pages.ts'
import { poolRunnerRoutes } from './pool-runners.ts'
import { poolRoutes } from './pools.ts'
import { registrationTokenRoutes } from './registration-tokens.ts'
import { runnerRoutes } from './runner-calls.ts'
import { runRoutes } from './runs.ts'
import { serviceRoutes } from './service.ts'
import { sessionRoutes } from './session.ts'
import { sessionFileRoutes } from './session-files.ts'
import { tenantRoutes } from './tenants.ts'
import { uploadRoutes } from './uploads.ts'

/** Everything that can be called. The router, the OpenAPI document and the authorization tests read this list. */
export const ROUTES: readonly Route[] = [
  ...tenantRoutes,
  ...apiKeyRoutes,
  ...sessionRoutes,
  ...memberRoutes,
  ...poolRoutes,
  ...overviewRoutes,
  ...registrationTokenRoutes,
  ...poolRunnerRoutes,
  ...environmentRoutes,
  ...runRoutes,
  ...liveRoutes,
  ...sessionFileRoutes,
  ...auditEventRoutes,
  ...runnerRoutes,
  ...uploadRoutes,
  ...pageRoutes,
  ...serviceRoutes(() => ROUTES),
]
