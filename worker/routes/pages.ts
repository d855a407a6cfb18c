import { z } from 'zod'
import { accepted, type Result, refused } from '../../protocol/errors.ts'
import { PoolId, RunId } from '../../protocol/ids.ts'
import { anyone } from '../auth/guards.ts'
import type { Edge } from '../edge.ts'
import type { Reply } from '../http/reply.ts'
import { defineRoute } from '../http/route.ts'

/** Pages for people. They hold nothing about anybody; what they show they ask the API for. */

/** Scripts and styles are files of our own; pictures come through the API or are made by the page itself. */
const PAGE_HEADERS = {
  'cache-control': 'no-cache',
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data: blob:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
  'cross-origin-opener-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
} as const

/**
 * Every place of the dashboard, which finds its way there by itself: see dashboard/app/routes.tsx. They are named one
 * by one, so that any other path stays a 404.
 */
const DASHBOARD_PLACES = {
  '/': undefined,
  '/environments': undefined,
  '/environments/runners': undefined,
  '/environments/runners/{pool_id}': z.object({ pool_id: PoolId }),
  '/runs': undefined,
  '/runs/{run_id}': z.object({ run_id: RunId }),
  '/live-links': undefined,
  '/api-keys': undefined,
  '/members': undefined,
  '/audit': undefined,
} as const satisfies Readonly<Record<string, z.ZodType | undefined>>

export const pageRoutes = [
  ...Object.entries(DASHBOARD_PLACES).map(([path, params]) =>
    defineRoute({
      method: 'get',
      path,
      tag: 'Service',
      summary: 'A page of the dashboard',
      guard: anyone,
      limit: 'nothing',
      ...(params !== undefined && { params: params as z.ZodType }),
      query: z.looseObject({}),
      statuses: [200],
      answer: z.string(),
      refusals: ['not_found'],
      handle: call => asset(call, '/index.html'),
    }),
  ),
  defineRoute({
    method: 'get',
    path: '/live/{run_id}',
    tag: 'Service',
    summary: 'The page that shows a run live',
    guard: anyone,
    limit: 'nothing',
    params: z.object({ run_id: RunId }),
    query: z.looseObject({}),
    statuses: [200],
    answer: z.string(),
    refusals: ['not_found'],
    handle: call => asset(call, '/live/index.html'),
  }),
  defineRoute({
    method: 'get',
    path: '/assets/{name}',
    tag: 'Service',
    summary: 'A file that a page is made of',
    guard: anyone,
    limit: 'nothing',
    params: z.object({ name: z.string().regex(/^[A-Za-z0-9._-]{1,128}$/) }),
    query: z.looseObject({}),
    statuses: [200],
    answer: z.string(),
    refusals: ['not_found'],
    handle: (call, { params }) => asset(call, `/assets/${params.name}`),
  }),
]

async function asset({ env, url }: Edge, path: string): Promise<Result<Reply<string>>> {
  const found = await env.ASSETS?.fetch(new Request(new URL(path, url)))
  if (found === undefined || !found.ok) return refused('not_found', 'no such page')
  const headers = new Headers(found.headers)
  for (const [name, value] of Object.entries(PAGE_HEADERS)) headers.set(name, value)
  return accepted({ status: 'raw', response: new Response(found.body, { headers }) })
}
