import type { Role } from '../../protocol/admin-api.ts'

interface Place {
  readonly href: string
  readonly label: string
  /** The least role that has anything to see there. */
  readonly role: Role
  readonly isUnder?: boolean
}

export const NAVIGATION: readonly Place[] = [
  { href: '/', label: 'Overview', role: 'viewer' },
  { href: '/environments', label: 'Environments', role: 'viewer' },
  { href: '/environments/runners', label: 'Self-hosted runners', role: 'viewer', isUnder: true },
  { href: '/runs', label: 'Runs', role: 'viewer' },
  { href: '/live-links', label: 'Live links', role: 'viewer' },
  { href: '/api-keys', label: 'API keys', role: 'admin' },
  { href: '/members', label: 'Members', role: 'admin' },
  { href: '/audit', label: 'Audit', role: 'admin' },
]
