import { env } from 'cloudflare:workers'
import { beforeEach, expect, test } from 'vitest'
import { projectRuns } from '../../durable-objects/runner-pool/projection.ts'
import { HISTORY_BOUNDS } from '../../scripts/docs/costs/counts.ts'
import { exited, pass, running, TestPool, TestRunner } from './world.ts'

/** What D1 bills for what a pool projects into it. */

/** Adds up what D1 itself says of every batch. */
function meteredD1(database: D1Database, cost: { written: number; read: number }): D1Database {
  return new Proxy(database, {
    get(target, name) {
      if (name !== 'batch') return Reflect.get(target, name).bind(target)
      return async (statements: D1PreparedStatement[]) => {
        const results = await target.batch(statements)
        for (const { meta } of results) {
          cost.written += meta.rows_written
          cost.read += meta.rows_read
        }
        return results
      }
    },
  })
}

const cost = { written: 0, read: 0 }
beforeEach(() => Object.assign(cost, { written: 0, read: 0 }))

function expectWithin(bound: { written: number; read: number }): void {
  expect(cost.written).toBeGreaterThan(0)
  expect(cost.written).toBeLessThanOrEqual(bound.written)
  expect(cost.read).toBeLessThanOrEqual(bound.read)
}

test('a run costs the history no more than its bound, however slowly it goes', async () => {
  const pool = await TestPool.create()
  const runner = await TestRunner.register(pool)
  await pool.replaceD1(database => meteredD1(database, cost))
  const projected = async () => {
    pass(1_000)
    await pool.passWithAlarms(1_000)
  }
  const { id } = await pool.enqueue()
  await projected()
  const session = await runner.offered()
  await projected()
  await runner.sync([{ session_id: session, state: 'accepted' }])
  await projected()
  await runner.sync([running(session)])
  await projected()
  await runner.sync([exited(session)])
  await projected()
  expect((await pool.projectedEvents(id)).at(-1)).toBe('succeeded')
  expectWithin(HISTORY_BOUNDS['a run'])
})

test('nor does the copy that whoever creates a run waits for', async () => {
  const pool = await TestPool.create()
  const run = await pool.enqueue()
  await projectRuns(meteredD1(env.DB, cost), [
    { tenantId: pool.identity.tenant_id, version: 1, run, events: [] },
  ])
  expectWithin(HISTORY_BOUNDS['the early copy of a run'])
})
