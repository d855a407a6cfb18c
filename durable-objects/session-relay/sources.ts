/** A member is good for as long as there is one. */
const MEMBERS = '(SELECT id, tenant_id, NULL AS revoked_at, NULL AS expires_at FROM members)'

/**
 * Which of these keys, links and members still let somebody watch. Revoking one closes its viewers at once; this is for the
 * viewers that the notice did not reach.
 */
export async function goodSources(
  db: D1Database,
  tenantId: string,
  sources: readonly string[],
  now: number,
): Promise<ReadonlySet<string>> {
  if (sources.length === 0) return new Set()
  const alive = '(expires_at IS NULL OR expires_at > ?)'
  const query = ['api_keys', 'live_links', MEMBERS]
    .map(
      table =>
        `SELECT id FROM ${table} WHERE tenant_id = ? AND revoked_at IS NULL AND ${alive} AND id IN (SELECT value FROM json_each(?))`,
    )
    .join(' UNION ALL ')
  const bindings = [tenantId, now, JSON.stringify(sources)]
  const { results } = await db
    .prepare(query)
    .bind(...bindings, ...bindings, ...bindings)
    .all<{ id: string }>()
  return new Set(results.map(({ id }) => id))
}
