import { z } from 'zod'
import { PoolId, RunId } from '../../protocol/ids.ts'
import { anyone } from '../auth/guards.ts'
import { asset } from '../http/assets.ts'
import { defineRoute } from '../http/route.ts'

/** Pages for people. They hold nothing about anybody; what they show they ask the API for. */

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
