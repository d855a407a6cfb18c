import { z } from 'zod'
import { HealthStatus } from '../../protocol/admin-api.ts'
import { accepted } from '../../protocol/errors.ts'
import { VERSION } from '../../protocol/version.ts'
import { anyone } from '../auth/guards.ts'
import { openApiDocument } from '../docs/openapi.ts'
import { docsPage } from '../docs/page.ts'
import { done, type Reply } from '../http/reply.ts'
import { defineRoute, type Route } from '../http/route.ts'

/** The page loads nothing and runs nothing: its one style sheet is inline. */
const PAGE_HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
}

/** Lets a runner find out whether what lies in between passes websockets on, before it has a credential. */
function greeting(): Reply<never> {
  const { 0: client, 1: server } = new WebSocketPair()
  server.accept()
  server.close(1000)
  return { status: 'raw', response: new Response(null, { status: 101, webSocket: client }) }
}

/** @param allRoutes read when asked for, because these routes are in the list they describe */
export function serviceRoutes(allRoutes: () => readonly Route[]): Route[] {
  return [
    defineRoute({
      method: 'get',
      path: '/healthz',
      tag: 'Service',
      summary: 'Whether this control plane answers; a websocket is opened and closed again',
      guard: anyone,
      limit: 'nothing',
      query: z.looseObject({}),
      statuses: [200, 101],
      answer: HealthStatus,
      async handle({ request }) {
        if (request.headers.get('upgrade')?.toLowerCase() === 'websocket') return accepted(greeting())
        return accepted(done({ status: 'ok' as const, version: VERSION }))
      },
    }),
    defineRoute({
      method: 'get',
      path: '/openapi.json',
      tag: 'Service',
      summary: 'This description, as OpenAPI 3.1',
      guard: anyone,
      limit: 'every_call',
      statuses: [200],
      answer: z.looseObject({}),
      handle: async () => accepted(done({ ...openApiDocument(allRoutes()) })),
    }),
    defineRoute({
      method: 'get',
      path: '/docs',
      tag: 'Service',
      summary: 'This description, for people',
      guard: anyone,
      limit: 'every_call',
      statuses: [200],
      answer: z.undefined(),
      async handle() {
        const response = new Response(docsPage(openApiDocument(allRoutes())), { headers: PAGE_HEADERS })
        return accepted({ status: 'raw', response })
      },
    }),
  ]
}
