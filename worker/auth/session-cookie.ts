import { parse, serialize } from 'hono/utils/cookie'
import { originOf } from '../runners/docker-run.ts'

/**
 * The cookie of a signed-in browser. Which of its two names counts depends on how the control plane was reached, and
 * the other is never looked at: over HTTPS only the one that no neighbouring host name can have set.
 */
const SECURE_NAME = '__Host-certyn_session'
/** Not every browser keeps a `__Host-` cookie that came over plain HTTP, not even from this machine. */
const LOOPBACK_NAME = 'certyn_session'

/** @returns null over plain HTTP from elsewhere, where a cookie could be read on its way */
export function cookieName(request: Request): string | null {
  const { protocol, hostname } = new URL(originOf(request))
  if (protocol === 'https:') return SECURE_NAME
  return isLoopback(hostname) ? LOOPBACK_NAME : null
}

/** What the browser holds, checked no further. */
export function cookieOf(request: Request): string | null {
  const name = cookieName(request)
  const cookies = request.headers.get('cookie')
  return name === null || cookies === null ? null : (parse(cookies, name)[name] ?? null)
}

/** @param maxAgeSeconds 0 makes the browser forget it */
export function setCookie(name: string, value: string, maxAgeSeconds: number): string {
  return serialize(name, value, {
    httpOnly: true,
    secure: name === SECURE_NAME,
    sameSite: 'Strict',
    path: '/',
    maxAge: maxAgeSeconds,
  })
}

/** Whether the browser says that a page of this control plane makes the call. */
export function isFromOwnPage(request: Request): boolean {
  return request.headers.get('origin') === originOf(request)
}

const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS'])

/** A browser adds the cookie to calls of any page of the site, so one that changes something must say whose it is. */
export function isForged(request: Request): boolean {
  return !SAFE_METHODS.has(request.method) && !isFromOwnPage(request)
}

function isLoopback(hostname: string): boolean {
  return (
    hostname === 'localhost' ||
    hostname.endsWith('.localhost') ||
    hostname === '[::1]' ||
    /^127(?:\.\d{1,3}){3}$/.test(hostname)
  )
}
