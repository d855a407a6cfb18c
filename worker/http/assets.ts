import { accepted, type Refusal, type Result, refused } from '../../protocol/errors.ts'
import type { Edge } from '../edge.ts'
import type { Reply } from './reply.ts'

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

/** @param path among the static assets */
export async function asset(edge: Edge, path: string): Promise<Result<Reply<string>>> {
  const response = await load(edge, path, 200)
  return response === null ? refused('not_found', 'no such page') : accepted({ status: 'raw', response })
}

/** Where nobody but programs ask. */
const NOT_FOR_PEOPLE = /^\/(?:api|runner|assets)\//

/**
 * Somebody who opens an address that names nothing is told so by a page: the one that is there for addresses like it.
 * @returns null where a program asks, which is told by the problem itself
 */
export async function pageInsteadOf({ code }: Refusal, edge: Edge): Promise<Response | null> {
  const { request, url } = edge
  const isAskedForPage =
    request.method === 'GET' && (request.headers.get('accept') ?? '').includes('text/html')
  if (code !== 'not_found' || !isAskedForPage || NOT_FOR_PEOPLE.test(url.pathname)) return null
  return await load(edge, /^\/live(?:\/|$)/.test(url.pathname) ? '/live/index.html' : '/index.html', 404)
}

async function load({ env, url }: Edge, path: string, status: number): Promise<Response | null> {
  const found = await env.ASSETS?.fetch(new Request(new URL(path, url)))
  if (found === undefined || !found.ok) return null
  const headers = new Headers(found.headers)
  for (const [name, value] of Object.entries(PAGE_HEADERS)) headers.set(name, value)
  return new Response(found.body, { status, headers })
}
