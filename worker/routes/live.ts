import { z } from 'zod'
import { relayEnabled } from '../../durable-objects/settings.ts'
import { pageOf } from '../../protocol/admin-api.ts'
import { accepted, type Result, refused } from '../../protocol/errors.ts'
import { LiveLinkId, RunId } from '../../protocol/ids.ts'
import {
  CreatedLiveLink,
  CreateLiveLink,
  CreateViewerTicket,
  ExchangeLiveLink,
  LiveLink,
  ViewerTicket,
} from '../../protocol/live.ts'
import { hashSecret, isWellFormedSecret, mintSecret, secretHint } from '../../protocol/secrets.ts'
import type { WatchMode } from '../../protocol/stream.ts'
import { timestamp } from '../../protocol/text.ts'
import type { KeyHolder } from '../auth/callers.ts'
import { anyone, atLeast } from '../auth/guards.ts'
import { findLink, insertLink, listLinks, noteLinkUse, revokeLink } from '../directory/live-links.ts'
import { findPoolOfRun } from '../directory/run-history.ts'
import { noteAudit, noteChange } from '../edge.ts'
import { idPageQuery, pageById } from '../http/paging.ts'
import { sourceLimit } from '../http/rate-limits.ts'
import { created, done, NO_CONTENT } from '../http/reply.ts'
import { type Call, defineRoute } from '../http/route.ts'
import { mintId } from '../ids.ts'
import { revokeSource } from '../live/revoke-source.ts'
import { issueTicket } from '../live/tickets.ts'
import { BAD_TICKET, isOwnOrigin, isUpgrade, offeredTicket, upgradeAt } from '../live/upgrades.ts'
import { originOf } from '../runners/docker-run.ts'
import { locateRun } from '../runs/locate-run.ts'

const RunPath = z.object({ run_id: RunId })

/** Watching a run: tickets for those who have a key, links for those who have none, and the stream itself. */
export const liveRoutes = [
  defineRoute({
    method: 'post',
    path: '/api/v1/runs/{run_id}/viewer-tickets',
    tag: 'Live view',
    summary: 'Take a ticket that opens one stream within 30 s',
    guard: atLeast('viewer'),
    needsRelay: true,
    params: RunPath,
    body: CreateViewerTicket,
    statuses: [201],
    answer: ViewerTicket,
    refusals: ['not_found', 'forbidden', 'feature_disabled', 'not_running', 'conflict'],
    async handle(call, { params: { run_id }, body }) {
      const watchable = await watchableRun(call, run_id, body.mode)
      if (!watchable.ok) return watchable
      const { tenant, key, sessionEndsAt } = call.caller
      const ticket = await issueTicket(call, {
        tenantId: tenant.id,
        poolId: watchable.value.poolId,
        runId: run_id,
        mode: body.mode,
        source: key.id,
        sourceExpiresAt: sessionEndsAt ?? (key.expires_at === null ? null : Date.parse(key.expires_at)),
        sourceMaxViewers: null,
      })
      if (!ticket.ok) return ticket
      noteAudit(call, { ...actor(call), action: 'viewer_ticket.created', target: run_id, detail: body.mode })
      return accepted(created(ticket.value))
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/runs/{run_id}/stream',
    tag: 'Live view',
    summary: 'Websocket of the live picture; the ticket is a subprotocol',
    guard: anyone,
    params: RunPath,
    statuses: [101],
    answer: z.undefined(),
    refusals: ['unauthenticated', 'forbidden', 'not_running', 'conflict'],
    async handle(call, { params: { run_id } }) {
      if (!isUpgrade(call.request)) {
        return refused('invalid_request', 'The stream is a websocket: send Upgrade: websocket.')
      }
      if (!isOwnOrigin(call.request)) return refused('forbidden', 'Pages of another origin may not watch.')
      const ticket = offeredTicket(call.request)
      if (!ticket.ok) return ticket
      const poolId = await findPoolOfRun(call.directory, run_id)
      if (poolId === null) return BAD_TICKET
      const session = await call.pool(poolId).watchableSession(run_id)
      if (!session.ok) return session.error.code === 'not_found' ? BAD_TICKET : session
      const ticketHash = await hashSecret(ticket.value)
      return await upgradeAt(call, { role: 'viewer', runId: run_id, session: session.value, ticketHash })
    },
  }),
  defineRoute({
    method: 'post',
    path: '/api/v1/runs/{run_id}/live-links',
    tag: 'Live view',
    summary: 'Create a link that lets whoever has it watch this run; shown once',
    guard: atLeast('member'),
    needsRelay: true,
    params: RunPath,
    body: CreateLiveLink,
    statuses: [201],
    answer: CreatedLiveLink,
    refusals: ['not_found', 'feature_disabled', 'not_running'],
    async handle(call, { params: { run_id }, body }) {
      const watchable = await watchableRun(call, run_id, body.mode)
      if (!watchable.ok) return watchable
      const secret = mintSecret('liveLink')
      const id = mintId('liveLink')
      const expiresAt = call.now + body.expires_in_seconds * 1000
      await insertLink(call.directory, {
        id,
        tenantId: call.caller.tenant.id,
        runId: run_id,
        mode: body.mode,
        hash: await hashSecret(secret),
        hint: secretHint('liveLink', secret),
        maxViewers: body.max_viewers,
        createdBy: call.caller.key.id,
        createdAt: call.now,
        expiresAt,
      })
      noteAudit(call, {
        ...actor(call),
        action: 'live_link.created',
        target: id,
        detail: `${body.mode} ${run_id}`,
      })
      // Behind `#`, which a browser sends to nobody.
      const url = `${originOf(call.request)}/live/${run_id}#${secret}`
      return accepted(created({ id, url, expires_at: timestamp(expiresAt) }))
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/runs/{run_id}/live-links',
    tag: 'Live view',
    summary: 'List the links to a run, without their secrets',
    guard: atLeast('member'),
    params: RunPath,
    query: z.strictObject(idPageQuery('liveLink')),
    statuses: [200],
    answer: pageOf(LiveLink),
    refusals: ['not_found'],
    async handle(call, { params: { run_id }, query: { limit, cursor } }) {
      const located = await locateRun(call, run_id)
      if (!located.ok) return located
      const page = { limit, after: cursor ?? null }
      const rows = await listLinks(call.directory, call.caller.tenant.id, run_id, page)
      return accepted(done(pageById(rows, limit)))
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/live-links',
    tag: 'Live view',
    summary: 'List the links to all runs',
    guard: atLeast('member'),
    query: z.strictObject(idPageQuery('liveLink')),
    statuses: [200],
    answer: pageOf(LiveLink),
    async handle(call, { query: { limit, cursor } }) {
      const page = { limit, after: cursor ?? null }
      const rows = await listLinks(call.directory, call.caller.tenant.id, null, page)
      return accepted(done(pageById(rows, limit)))
    },
  }),
  defineRoute({
    method: 'delete',
    path: '/api/v1/live-links/{link_id}',
    tag: 'Live view',
    summary: 'Revoke a link; whoever watches through it is cut off',
    guard: atLeast('member'),
    params: z.object({ link_id: LiveLinkId }),
    statuses: [204],
    answer: z.undefined(),
    refusals: ['not_found'],
    async handle(call, { params: { link_id } }) {
      const tenantId = call.caller.tenant.id
      if (!(await revokeLink(call.directory, tenantId, link_id, call.now))) {
        return refused('not_found', 'no such link')
      }
      noteChange(call, 'live_link.revoked', link_id)
      await revokeSource(call, tenantId, link_id)
      return accepted(NO_CONTENT)
    },
  }),
  defineRoute({
    method: 'post',
    path: '/api/v1/live-links/exchange',
    tag: 'Live view',
    summary: 'Exchange a link for a ticket',
    guard: anyone,
    body: ExchangeLiveLink,
    statuses: [201],
    answer: ViewerTicket,
    refusals: ['unauthenticated', 'feature_disabled', 'not_running', 'conflict'],
    async handle(call, { body }) {
      const known = isWellFormedSecret('liveLink', body.link)
      const link = known ? await findLink(call.directory, await hashSecret(body.link)) : null
      if (link === null) return BAD_LINK
      // A good link is a credential: what is done with it is counted against it, as with a key.
      const limited = await sourceLimit(call, link.id)
      if (!limited.ok) return limited
      if (link.runId !== body.run_id) return BAD_LINK
      if (link.revokedAt !== null)
        return refused('unauthenticated', 'The link was revoked; ask for a new one.')
      if (link.expiresAt <= call.now)
        return refused('unauthenticated', 'The link has expired; ask for a new one.')
      if (!relayEnabled(call.settings, link.tenantSlug)) {
        return refused('feature_disabled', 'Live view is off for this tenant.')
      }
      const poolId = await findPoolOfRun(call.directory, link.runId)
      if (poolId === null) return BAD_LINK
      const ticket = await issueTicket(call, {
        tenantId: link.tenantId,
        poolId,
        runId: link.runId,
        mode: link.mode,
        source: link.id,
        sourceExpiresAt: link.expiresAt,
        sourceMaxViewers: link.maxViewers,
      })
      if (!ticket.ok) return ticket
      await noteLinkUse(call.directory, link, call.now)
      noteAudit(call, {
        tenant: { id: link.tenantId },
        actor: link.id,
        action: 'live_link.used',
        target: link.runId,
        detail: link.mode,
      })
      return accepted(created(ticket.value))
    },
  }),
]

const BAD_LINK = refused('unauthenticated', 'There is no such link to this run.')

function actor(call: Call<KeyHolder>) {
  return { tenant: { id: call.caller.tenant.id }, actor: call.caller.key.id }
}

/** May they, is there such a run, does it live. */
async function watchableRun(
  call: Call<KeyHolder>,
  runId: string,
  mode: WatchMode,
): Promise<Result<{ poolId: string }>> {
  if (mode === 'control' && call.caller.key.role === 'viewer') {
    return refused('forbidden', 'A viewer may watch and not control.')
  }
  const located = await locateRun(call, runId)
  if (!located.ok) return located
  const { state, run } = located.value
  if (state === 'live') return accepted({ poolId: run.pool_id })
  const error = { code: 'not_running', detail: 'The run has ended.', run_status: run.status } as const
  return { ok: false, error }
}
