import type { Route } from '../http/route.ts'
import { apiKeyRoutes } from './api-keys.ts'
import { auditEventRoutes } from './audit-events.ts'
import { environmentRoutes } from './environments.ts'
import { poolRunnerRoutes } from './pool-runners.ts'
import { poolRoutes } from './pools.ts'
import { registrationTokenRoutes } from './registration-tokens.ts'
import { runnerRoutes } from './runner-calls.ts'
import { runRoutes } from './runs.ts'
import { serviceRoutes } from './service.ts'
import { tenantRoutes } from './tenants.ts'

/** Everything that can be called. The router, the OpenAPI document and the authorization tests read this list. */
export const ROUTES: readonly Route[] = [
  ...tenantRoutes,
  ...apiKeyRoutes,
  ...poolRoutes,
  ...registrationTokenRoutes,
  ...poolRunnerRoutes,
  ...environmentRoutes,
  ...runRoutes,
  ...auditEventRoutes,
  ...runnerRoutes,
  ...serviceRoutes(() => ROUTES),
]
