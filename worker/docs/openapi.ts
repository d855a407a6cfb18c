import { zodToOpenAPIRegistry } from '@asteasolutions/zod-to-openapi'
import { OpenAPIHono } from '@hono/zod-openapi'
import type { z } from 'zod'
import {
  ApiKey,
  AuditEvent,
  CreatedApiKey,
  CreatedRegistrationToken,
  Environment,
  Pool,
  RegistrationToken,
  Runner,
  Tenant,
} from '../../protocol/admin-api.ts'
import { ERRORS, type ErrorCode, Problem } from '../../protocol/errors.ts'
import { Placement, Run, RunEvent } from '../../protocol/run.ts'
import { RegisterRequest, RegisterResponse, SyncRequest, SyncResponse } from '../../protocol/runner-api.ts'
import { VERSION } from '../../protocol/version.ts'
import type { Route, Tag } from '../http/route.ts'

export type OpenApiDocument = ReturnType<OpenAPIHono['getOpenAPI31Document']>

/** Schemas that are written once and referred to; every other one is inline. */
const COMPONENTS = {
  ApiKey,
  AuditEvent,
  CreatedApiKey,
  CreatedRegistrationToken,
  Environment,
  Placement,
  Pool,
  Problem,
  RegisterRequest,
  RegisterResponse,
  RegistrationToken,
  Run,
  RunEvent,
  Runner,
  SyncRequest,
  SyncResponse,
  Tenant,
} satisfies Record<string, z.ZodType>

for (const [name, schema] of Object.entries(COMPONENTS)) {
  zodToOpenAPIRegistry.add(schema, { _internal: { refId: name } })
}

const TAGS: Record<Tag, string> = {
  Tenants: 'Tenants, and the keys that call for them.',
  'Sign-in': 'Browsers that call with a cookie instead of a key.',
  Pools: 'Runner pools, their registration tokens and their runners.',
  Environments: 'Where runs go.',
  Runs: 'What is to be run, and what became of it.',
  'Live view': 'Watching a run while it goes on.',
  Audit: 'Who did what.',
  Runner: 'What a runner daemon says; its protocol has a version of its own.',
  Service: 'The control plane itself.',
}

const SUCCESS = {
  101: 'The websocket is open',
  200: 'Done',
  201: 'Created',
  204: 'Done; there is nothing to say',
} as const

let made: OpenApiDocument | null = null

/** Generated once an isolate, when first asked for: from the same routes and schemas that answer the calls. */
export function openApiDocument(routes: readonly Route[]): OpenApiDocument {
  made ??= generate(routes)
  return made
}

function generate(routes: readonly Route[]): OpenApiDocument {
  const app = new OpenAPIHono()
  for (const name of ['key', 'runner'] as const) {
    app.openAPIRegistry.registerComponent('securitySchemes', name, { type: 'http', scheme: 'bearer' })
  }
  app.openAPIRegistry.registerComponent('securitySchemes', 'browser', {
    type: 'apiKey',
    in: 'cookie',
    name: '__Host-certyn_session',
  })
  for (const route of routes) registerRoute(app, route)
  return app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'Self-hosted test runners',
      version: VERSION,
      description: 'Control plane for browser tests that run on runners inside your own network.',
    },
    servers: [{ url: '/', description: 'This control plane' }],
    tags: [...new Set(routes.map(route => route.documented.tag))].map(name => ({
      name,
      description: TAGS[name],
    })),
  })
}

function registerRoute(app: OpenAPIHono, route: Route): void {
  const { tag, summary, params, query, headers, body, answer } = route.documented
  app.openAPIRegistry.registerPath({
    method: route.method,
    path: route.path,
    operationId: operationId(route),
    tags: [tag],
    summary,
    description: description(route),
    security: security(route),
    request: {
      ...(params === undefined ? {} : { params: asObject(params) }),
      ...(query === undefined ? {} : { query: asObject(query) }),
      ...(headers === undefined ? {} : { headers: asObject(headers) }),
      ...(body === undefined
        ? {}
        : {
            body: {
              content: { 'application/json': { schema: body } },
              required: !body.safeParse({}).success,
            },
          }),
    },
    responses: {
      ...Object.fromEntries(
        route.documented.statuses.map(status => [status, successOf(route, status, answer)]),
      ),
      ...problems(refusalsOf(route)),
    },
  })
}

/** Parameters are objects everywhere; the library's type asks for no less. */
function asObject(schema: z.ZodType) {
  return schema as z.ZodObject
}

function successOf(route: Route, status: 101 | 200 | 201 | 204, answer: z.ZodType) {
  const description = SUCCESS[status]
  if (status === 101 || status === 204) return { description }
  if (route.path === '/docs') {
    return { description, content: { 'text/html': { schema: { type: 'string' as const } } } }
  }
  if (route.method === 'get' && route.path.endsWith('/logs')) {
    const schema = { type: 'string' as const }
    return { description, content: { 'text/plain': { schema }, 'text/event-stream': { schema } } }
  }
  return { description, content: { 'application/json': { schema: answer } } }
}

/** What a path begins with, and what stands for it in the operation's id; pages are named like what they show. */
const AREAS = [
  ['/api/v1/', ''],
  ['/runner/v1/', 'runner_api/'],
  ['/', 'page/'],
] as const

/** `get /api/v1/pools/{pool_id}/runners` is `get_pools_by_pool_id_runners`. */
function operationId({ method, path }: Route): string {
  const [start, area] = AREAS.find(([begins]) => path.startsWith(begins)) ?? ['', '']
  const words = `${area}${path.slice(start.length)}`.replaceAll(/\{([^}]+)\}/g, 'by_$1').split(/[^a-z0-9_]+/)
  return [method, ...words].filter(word => word !== '').join('_')
}

const WHO: Record<Route['who'], string> = {
  public: 'No credential is needed.',
  operator: 'The operator key.',
  viewer: 'A tenant key of any role.',
  member: 'A tenant key of the role member or admin.',
  admin: 'A tenant key of the role admin.',
  runner: "The runner's own credential.",
}

function description(route: Route): string {
  const feature = route.needsFeature ? ' Needs self-hosted runners to be on for the tenant.' : ''
  return WHO[route.who] + feature
}

function security({ who }: Route): Record<string, string[]>[] {
  if (who === 'public') return []
  if (who === 'runner') return [{ runner: [] }]
  return who === 'operator' ? [{ key: [] }] : [{ key: [] }, { browser: [] }]
}

/** What a route may refuse: its own codes, and those that follow from who may call it and what it takes. */
export function refusalsOf(route: Route): ErrorCode[] {
  const { refusals, params, query, body } = route.documented
  const codes = new Set<ErrorCode>(refusals)
  if (route.who !== 'public') codes.add('unauthenticated')
  // A tenant key is a credential of the wrong kind for the operator calls, and the operator key has every right to them.
  if (route.who !== 'public' && route.who !== 'operator') codes.add('forbidden')
  if (route.who !== 'public' || route.limit !== 'nothing') codes.add('rate_limited')
  if (route.needsFeature) codes.add('feature_disabled')
  if (params !== undefined) codes.add('not_found')
  if (query !== undefined || body !== undefined || route.who !== 'public') codes.add('invalid_request')
  if (body !== undefined) codes.add('payload_too_large').add('unsupported_media_type')
  return [...codes, 'overloaded']
}

function problems(codes: readonly ErrorCode[]) {
  const byStatus = Map.groupBy(codes, code => ERRORS[code].status)
  const entries = [...byStatus].map(([status, some]) => [
    String(status),
    {
      description: some.map(code => `\`${code}\`: ${ERRORS[code].title}`).join('. '),
      content: { 'application/problem+json': { schema: Problem } },
    },
  ])
  return Object.fromEntries(entries)
}
