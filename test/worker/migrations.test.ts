import { env } from 'cloudflare:workers'
import { expect, it } from 'vitest'
import { projectRuns } from '../../durable-objects/runner-pool/projection.ts'
import type { Run } from '../../protocol/run.ts'
import { firstIdAt } from '../../worker/ids.ts'

/** The run as it is kept by a release whose table had no column for its end. */
async function keptRun(finished_at: string | null): Promise<string> {
  const at = Date.parse(finished_at ?? '2026-11-01T00:00:00Z')
  const id = firstIdAt('run', at)
  const run = {
    id,
    pool_id: firstIdAt('pool', at),
    environment_id: firstIdAt('environment', at),
    status: 'passed',
    finished_at,
  } as unknown as Run
  await projectRuns(env.DB, [{ tenantId: firstIdAt('tenant', at), version: 1, run, events: [] }])
  await env.DB.prepare('UPDATE runs SET finished_at = NULL WHERE id = ?').bind(id).run()
  return id
}

async function endOf(id: string): Promise<unknown> {
  return env.DB.prepare('SELECT finished_at FROM runs WHERE id = ?').bind(id).first('finished_at')
}

it('runs that had ended before their end had a column are given it, to the millisecond', async () => {
  const ended = await keptRun('2026-11-20T10:11:12.345Z')
  const running = await keptRun(null)
  const filled = env.MIGRATIONS.find(({ name }) => name === '0004_ends_of_earlier_runs.sql')
  await env.DB.batch((filled?.queries ?? []).map(query => env.DB.prepare(query)))
  expect(await endOf(ended)).toBe(Date.parse('2026-11-20T10:11:12.345Z'))
  expect(await endOf(running)).toBeNull()
})
