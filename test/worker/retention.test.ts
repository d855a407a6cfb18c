import { createScheduledController } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { expect, test } from 'vitest'
import { projectRuns } from '../../durable-objects/runner-pool/projection.ts'
import type { Run, RunStatus } from '../../protocol/run.ts'
import { timestamp } from '../../protocol/text.ts'
import { insertAuditEvents } from '../../worker/directory/audit-events.ts'
import { openDirectory } from '../../worker/directory/database.ts'
import { insertLink } from '../../worker/directory/live-links.ts'
import {
  deleteAdmissionsBefore,
  deleteAnnouncedRunsBefore,
  deleteLinksBefore,
} from '../../worker/directory/retention.ts'
import { announceRun } from '../../worker/directory/run-history.ts'
import { noteAdmission } from '../../worker/directory/stream-admissions.ts'
import { firstIdAt, mintId } from '../../worker/ids.ts'
import worker from '../../worker/index.ts'

const DAY_MS = 86_400_000
const NOW = Date.parse('2026-06-01T00:00:00Z')

function runAt(ms: number, status: RunStatus): Run {
  return {
    id: firstIdAt('run', ms),
    environment_id: firstIdAt('environment', ms),
    pool_id: firstIdAt('pool', ms),
    status,
    attempt: 1,
    session_id: null,
    runner_id: null,
    image: 'agent',
    image_digest: null,
    command: null,
    priority: 0,
    labels: {},
    timeout_seconds: 1,
    queue_timeout_seconds: 60,
    max_attempts: 1,
    resources: {},
    queued_at: timestamp(ms),
    started_at: null,
    finished_at: null,
    exit_code: null,
    failure: null,
    stream: { transport: 'relay', state: 'off', viewers: 0 },
    metadata: {},
  }
}

async function ids(table: 'runs' | 'run_events' | 'audit_events', column: string): Promise<unknown[]> {
  const { results } = await env.DB.prepare(`SELECT ${column} AS id FROM ${table} ORDER BY 1`).all()
  return results.map(row => row.id)
}

test('the daily sweep deletes ended runs, their events and audit events once they are older than the setting', async () => {
  const old = runAt(NOW - 11 * DAY_MS, 'succeeded')
  const oldButLive = runAt(NOW - 12 * DAY_MS, 'running')
  const young = runAt(NOW - 9 * DAY_MS, 'failed')
  const event = { at: timestamp(NOW), type: 'queued', detail: '' } as const
  await projectRuns(
    env.DB,
    [old, oldButLive, young].map(run => ({
      tenantId: 'ten_1',
      version: 1,
      run,
      events: [{ seq: 1, event }],
    })),
  )
  const audit = { tenant: 'unknown', actor: 'a', action: 'b', target: 'c', address: 'd', detail: '' } as const
  const [oldAudit, youngAudit] = [NOW - 11 * DAY_MS, NOW - 9 * DAY_MS].map(at => ({
    ...audit,
    at,
    id: firstIdAt('auditEvent', at),
  }))
  if (oldAudit === undefined || youngAudit === undefined) throw new Error('two entries were expected')
  await insertAuditEvents(openDirectory(env.DB), [oldAudit, youngAudit])

  const controller = createScheduledController({ scheduledTime: new Date(NOW) })
  await worker.scheduled(controller, { ...env, SelfHosted__HistoryRetentionDays: '10' } as never)

  expect(await ids('runs', 'id')).toEqual([oldButLive.id, young.id])
  expect(await ids('run_events', 'run_id')).toEqual([oldButLive.id, young.id])
  expect(await ids('audit_events', 'id')).toEqual([youngAudit.id])
})

test('the daily sweep deletes what was announced a day ago and never became a run', async () => {
  const directory = openDirectory(env.DB)
  const place = { poolId: 'pol_1', environmentId: 'env_1' }
  const [stale, fresh, taken] = [25, 23, 26].map(hours => runAt(NOW - hours * 3_600_000, 'queued'))
  if (!stale || !fresh || !taken) throw new Error('three runs were expected')
  for (const { id } of [stale, fresh, taken]) await announceRun(directory, 'ten_2', { id, ...place })
  await projectRuns(env.DB, [{ tenantId: 'ten_2', version: 1, run: taken, events: [] }])

  const controller = createScheduledController({ scheduledTime: new Date(NOW) })
  await worker.scheduled(controller, env as never)

  const left = await env.DB.prepare("SELECT id FROM runs WHERE tenant_id = 'ten_2' ORDER BY id").all()
  expect(left.results.map(row => row.id)).toEqual([taken.id, fresh.id])
})

test('the least id of a time sorts before every id made from then on', () => {
  const id = firstIdAt('run', NOW)
  expect(id < firstIdAt('run', NOW + 1)).toBe(true)
  expect(firstIdAt('run', Date.now()) <= mintId('run')).toBe(true)
  expect(firstIdAt('run', NOW - 1) < id).toBe(true)
})

test('the daily sweep deletes links a month after their end, and admissions that no session can be of', async () => {
  const directory = openDirectory(env.DB)
  const link = (id: string, expiresAt: number) =>
    insertLink(directory, {
      id,
      tenantId: 'ten_3',
      runId: 'run_1',
      mode: 'view',
      hash: id,
      hint: id,
      maxViewers: 1,
      createdBy: 'key_1',
      createdAt: 0,
      expiresAt,
    })
  await link('old', NOW - 31 * DAY_MS)
  await link('ended', NOW - 29 * DAY_MS)
  await link('good', NOW + DAY_MS)
  for (let at = 0; at < 501; at++)
    await noteAdmission(directory, 'ten_3', 'old', `ses_${at}`, NOW - 4 * DAY_MS)
  for (const source of ['old', 'other'])
    await noteAdmission(directory, 'ten_3', source, 'ses_young', NOW - 2 * DAY_MS)

  const controller = createScheduledController({ scheduledTime: new Date(NOW) })
  await worker.scheduled(controller, env as never)

  const left = async (sql: string) => (await env.DB.prepare(sql).raw()).flat()
  expect(await left("SELECT id FROM live_links WHERE tenant_id = 'ten_3' ORDER BY id")).toEqual([
    'ended',
    'good',
  ])
  expect(
    await left("SELECT source, session_id FROM stream_admissions WHERE tenant_id = 'ten_3' ORDER BY 1"),
  ).toEqual(['old', 'ses_young', 'other', 'ses_young'])
})

test.each([
  ['what was announced and never came', deleteAnnouncedRunsBefore, firstIdAt('run', NOW), 'runs_announced'],
  ['an ended link', deleteLinksBefore, NOW, 'live_links_by_end'],
  ['an old admission', deleteAdmissionsBefore, NOW, 'stream_admissions_by_age'],
])('%s is looked up among its like, and not among all there are', async (_what, sweep, before, index) => {
  const asked: { sql: string; values: unknown[] }[] = []
  const watched = new Proxy(env.DB, {
    get(target, name) {
      if (name !== 'prepare') return Reflect.get(target, name)
      return (sql: string) => {
        const statement = target.prepare(sql)
        const bind = statement.bind.bind(statement)
        statement.bind = (...values: unknown[]) => {
          asked.push({ sql, values })
          return bind(...values)
        }
        return statement
      }
    },
  })
  await sweep(openDirectory(watched), before as never, 500)
  const [query] = asked
  if (query === undefined) throw new Error('nothing was asked')
  const plan = await env.DB.prepare(`EXPLAIN QUERY PLAN ${query.sql}`)
    .bind(...query.values)
    .all<{ detail: string }>()
  expect(plan.results.map(step => step.detail).join('\n')).toMatch(
    new RegExp(`SEARCH \\w+ USING (COVERING )?INDEX ${index}`),
  )
})
