import { Hono } from 'hono'
import { logLine, reasonOf } from '../durable-objects/log.ts'
import type { ErrorCode, Result } from '../protocol/errors.ts'
import { insertAuditEvents } from './directory/audit-events.ts'
import type { Edge } from './edge.ts'
import { pageInsteadOf } from './http/assets.ts'
import { addressLimit } from './http/rate-limits.ts'
import type { Reply } from './http/reply.ts'
import { problemResponse, replyResponse } from './http/respond.ts'
import type { AddressLimit, Route } from './http/route.ts'
import { retrying } from './retry.ts'
import { ROUTES } from './routes/all.ts'
import { nameSpan } from './telemetry/active-span.ts'

type AppEnv = { Bindings: Edge }

/** Routes, then what is said of a known path's other methods, then what is said of everything else. */
export function buildApp(): Hono<AppEnv> {
  const app = new Hono<AppEnv>()
  const methodsByPath = new Map<string, string[]>()
  for (const route of ROUTES) {
    const path = routerPath(route)
    methodsByPath.set(path, [...(methodsByPath.get(path) ?? []), route.method.toUpperCase()])
    app.on(route.method.toUpperCase(), path, c => answerRoute(c.env, route, c.req.param()))
  }
  for (const [path, methods] of methodsByPath) {
    app.all(path, c =>
      answer(c.env, 'every_call', async () => METHOD_NOT_ALLOWED, { allow: methods.join(', ') }),
    )
  }
  app.notFound(c => answer(c.env, 'every_call', async () => NOT_FOUND))
  app.onError((error, c) => unexpected(error, c.env.requestId))
  return app
}

const METHOD_NOT_ALLOWED: Result<never> = {
  ok: false,
  error: { code: 'method_not_allowed', detail: 'This path does not take that method; see Allow.' },
}
const NOT_FOUND: Result<never> = { ok: false, error: { code: 'not_found', detail: 'no such path' } }

function routerPath(route: Route): string {
  // An artifact's name is a path.
  return route.path.replaceAll(/\{([^}]+)\}/g, (_, name) => (name === 'name' ? ':name{.+}' : `:${name}`))
}

function answerRoute(
  edge: Edge,
  route: Route,
  pathParams: Readonly<Record<string, string>>,
): Promise<Response> {
  nameSpan(route.path)
  const run = () => route.run(edge, pathParams)
  const onEnd = (error: ErrorCode | null) => route.onEnd(edge, pathParams, error)
  return answer(edge, route.limit, run, {}, onEnd)
}

async function answer(
  edge: Edge,
  limit: AddressLimit,
  run: () => Promise<Result<Reply<unknown>>>,
  headers: Readonly<Record<string, string>> = {},
  onEnd: (error: ErrorCode | null) => void = () => undefined,
): Promise<Response> {
  let result: Result<Reply<unknown>>
  try {
    result = await run()
  } catch (error) {
    // D1 failing, an object reset or overloaded, or a mistake of ours: the caller may try again, and we get to know.
    flushAudit(edge)
    onEnd('overloaded')
    return unexpected(error, edge.requestId)
  }
  if (isCharged(limit, result)) {
    const limited = await addressLimit(edge)
    // Beyond the limit nothing more is written down either, or a flood would be one of rows.
    if (!limited.ok) {
      onEnd(limited.error.code)
      return problemResponse(limited.error, edge.requestId)
    }
  }
  onEnd(result.ok ? null : result.error.code)
  flushAudit(edge)
  if (result.ok) return replyResponse(result.value, edge.requestId)
  return (await pageInsteadOf(result.error, edge)) ?? problemResponse(result.error, edge.requestId, headers)
}

/** An address pays for calls without a valid credential; a caller whose credential is good pays with its own limit. */
function isCharged(limit: AddressLimit, result: Result<unknown>): boolean {
  switch (limit) {
    case 'nothing':
      return false
    case 'every_call':
      return true
    case 'failures':
      return !result.ok && !WITH_GOOD_TOKEN.has(result.error.code)
    case 'refused_credentials':
      return !result.ok && result.error.code === 'unauthenticated'
  }
}

/** Registration says these only to the holder of a good token, who may well be one of a fleet behind one address. */
const WITH_GOOD_TOKEN: ReadonlySet<ErrorCode> = new Set([
  'runner_name_taken',
  'feature_disabled',
  'overloaded',
])

/** Written after the answer is decided; it neither delays nor fails the request. */
function flushAudit(edge: Edge): void {
  if (edge.audit.length === 0) return
  edge.background(
    retrying(() => insertAuditEvents(edge.directory, edge.audit)).catch(error =>
      logLine('error', 'audit_not_written', {
        request_id: edge.requestId,
        actions: edge.audit.map(entry => `${entry.action} ${entry.target}`),
        reason: reasonOf(error),
      }),
    ),
  )
}

function unexpected(error: unknown, requestId: string): Response {
  logLine('error', 'request_failed', { request_id: requestId, reason: reasonOf(error) })
  return problemResponse(
    { code: 'overloaded', detail: 'The control plane could not answer just now; try again.' },
    requestId,
  )
}
