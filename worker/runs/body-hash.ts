import { hashSecret } from '../../protocol/secrets.ts'

/**
 * SHA-256 of what a call asks for, so that the same request spelled with its members in another order, or with
 * defaults written out, is the same request. The environment is part of it.
 */
export async function hashBody(environmentId: string, body: unknown): Promise<string> {
  return await hashSecret(`${environmentId}\n${JSON.stringify(body, sortedMembers)}`)
}

function sortedMembers(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}
