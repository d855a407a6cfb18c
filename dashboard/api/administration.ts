import * as z from 'zod'
import { ApiKey, AuditEvent, CreatedApiKey, Member, type Role } from '../../protocol/admin-api.ts'
import { LiveLink } from '../../protocol/live.ts'
import { call } from './client.ts'
import { listQuery } from './lists.ts'
import { SLOW_REFRESH_MS } from './query-client.ts'

/** Who may do what here, and who did. */

export const apiKeysQuery = listQuery(['api-keys'], '/api-keys', ApiKey, SLOW_REFRESH_MS)
export const membersQuery = listQuery(['members'], '/members', Member, SLOW_REFRESH_MS)
export const auditQuery = listQuery(['audit'], '/audit-events', AuditEvent)
export const liveLinksQuery = listQuery(['live-links'], '/live-links', LiveLink)

export const createApiKey = (body: {
  readonly name: string
  readonly role: Role
  readonly expires_in_seconds?: number
}) => call('/api-keys', CreatedApiKey, { method: 'POST', body })

export const revokeApiKey = (id: string): Promise<undefined> =>
  call(`/api-keys/${id}`, z.undefined(), { method: 'DELETE' })

export const putMember = (body: { readonly email: string; readonly role: Role }): Promise<Member> =>
  call('/members', Member, { method: 'PUT', body })

export const deleteMember = (email: string): Promise<undefined> =>
  call('/members', z.undefined(), { method: 'DELETE', body: { email } })

export const revokeLiveLink = (id: string): Promise<undefined> =>
  call(`/live-links/${id}`, z.undefined(), { method: 'DELETE' })
