import { z } from 'zod'
import { accessTeam } from '../../durable-objects/settings.ts'
import { BrowserSession, SignIn } from '../../protocol/admin-api.ts'
import { accepted, type Result, refused } from '../../protocol/errors.ts'
import { ASSERTION_HEADER, admitMember } from '../auth/access.ts'
import { admitSession, describeSession, openSession, sessionHash } from '../auth/browser-session.ts'
import type { Anyone, KeyHolder } from '../auth/callers.ts'
import { anyone, FOREIGN_PAGE } from '../auth/guards.ts'
import { admitKey } from '../auth/key-holder.ts'
import { cookieName, cookieOf, isForged, isFromOwnPage, setCookie } from '../auth/session-cookie.ts'
import { deleteSession } from '../directory/browser-sessions.ts'
import { noteAudit } from '../edge.ts'
import { invalidField } from '../http/input.ts'
import { keyLimit } from '../http/rate-limits.ts'
import { created, done, NO_CONTENT } from '../http/reply.ts'
import { type Call, defineRoute } from '../http/route.ts'

const PATH = '/api/v1/session'

/** A browser signs in with a key or through Cloudflare Access, and holds a cookie instead of it. */
export const sessionRoutes = [
  defineRoute({
    method: 'post',
    path: PATH,
    tag: 'Sign-in',
    summary: 'Sign a browser in; the answer sets its cookie',
    guard: anyone,
    body: SignIn,
    statuses: [201],
    answer: BrowserSession,
    refusals: ['unauthenticated', 'forbidden', 'conflict'],
    async handle(call, { body }) {
      const name = cookieName(call.request)
      if (name === null) return refused('forbidden', 'Over plain HTTP nobody signs in but on this machine.')
      const before = cookieOf(call.request)
      if (isAskedByOther(call.request, before)) return FOREIGN_PAGE
      const caller = await signingIn(call, body)
      if (!caller.ok) return caller
      const limited = await keyLimit({ ...call, caller: caller.value })
      if (!limited.ok) return limited

      const { secret, holder } = await openSession(call, caller.value, before)
      noteAudit(call, { ...about(holder.tenant.id, holder.key.id), action: 'session.opened' })
      const maxAge = Math.floor((holder.sessionEndsAt - call.now) / 1000)
      const headers = { 'set-cookie': setCookie(name, secret, maxAge) }
      return accepted({ ...created(describeSession(call.settings, holder)), headers })
    },
  }),
  defineRoute({
    method: 'get',
    path: PATH,
    tag: 'Sign-in',
    summary: 'Who this browser is signed in as, by its cookie alone',
    guard: anyone,
    statuses: [200],
    answer: BrowserSession,
    refusals: ['unauthenticated'],
    async handle(call) {
      const cookie = cookieOf(call.request)
      if (cookie === null) return refused('unauthenticated', 'You are not signed in.')
      const holder = await admitSession(call, cookie)
      if (!holder.ok) return holder
      const limited = await keyLimit({ ...call, caller: holder.value })
      return limited.ok ? accepted(done(describeSession(call.settings, holder.value))) : limited
    },
  }),
  defineRoute({
    method: 'delete',
    path: PATH,
    tag: 'Sign-in',
    summary: 'Sign this browser out; repeating it changes nothing',
    guard: anyone,
    statuses: [204],
    answer: z.undefined(),
    refusals: ['forbidden'],
    async handle(call) {
      const name = cookieName(call.request)
      const cookie = cookieOf(call.request)
      if (name === null || cookie === null) return accepted(NO_CONTENT)
      if (isForged(call.request)) return FOREIGN_PAGE
      const hash = await sessionHash(cookie)
      const ended = hash === null ? null : await deleteSession(call.directory, hash)
      if (ended !== null) {
        noteAudit(call, { ...about(ended.tenantId, ended.holderId), action: 'session.closed' })
      }
      return accepted({ ...NO_CONTENT, headers: { 'set-cookie': setCookie(name, '', 0) } })
    },
  }),
]

async function signingIn(
  call: Call<Anyone>,
  { api_key, tenant }: z.output<typeof SignIn>,
): Promise<Result<KeyHolder>> {
  if (api_key !== undefined) {
    const holder = await admitKey(call, api_key)
    const isOther = holder.ok && tenant !== undefined && tenant !== holder.value.tenant.slug
    return isOther ? refused('forbidden', 'The key is one of another tenant.') : holder
  }
  if (accessTeam(call.settings) === null) return invalidField('api_key', 'required')
  const assertion = call.request.headers.get(ASSERTION_HEADER)
  if (assertion === null) {
    return refused('unauthenticated', 'Sign in with an API key, or come through Cloudflare Access.')
  }
  // Access adds it to whatever the browser sends, like a cookie.
  return isFromOwnPage(call.request) ? await admitMember(call, assertion, tenant) : FOREIGN_PAGE
}

/** Programs send no origin and hold no cookie; whoever does either is a browser, and says whose page it is. */
function isAskedByOther(request: Request, cookie: string | null): boolean {
  return (request.headers.has('origin') || cookie !== null) && isForged(request)
}

function about(tenantId: string, actor: string) {
  return { tenant: { id: tenantId }, actor, target: actor }
}
