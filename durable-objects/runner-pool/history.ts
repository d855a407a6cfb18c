import { sql } from 'drizzle-orm'
import { index, integer, primaryKey, sqliteTable, text } from 'drizzle-orm/sqlite-core'

/**
 * D1 tables that hold history projected from the pool objects. The object's outbox is their only writer,
 * beside the Worker's early copy of a run it has just enqueued; both write through `projection.ts`.
 */
export const runs = sqliteTable(
  'runs',
  {
    id: text('id').primaryKey(),
    tenantId: text('tenant_id').notNull(),
    poolId: text('pool_id').notNull(),
    environmentId: text('environment_id').notNull(),
    status: text('status').notNull(),
    /** Rises with every change of the run; a row is only ever replaced by a higher one. */
    version: integer('version').notNull(),
    /** Null until it has ended. */
    finishedAt: integer('finished_at'),
    /** The run as the API shows it, JSON. */
    document: text('document').notNull(),
  },
  table => [
    index('runs_by_tenant').on(table.tenantId, table.id),
    index('runs_by_environment').on(table.environmentId, table.id),
    index('runs_by_pool').on(table.poolId, table.id),
    index('runs_by_status').on(table.tenantId, table.status, table.id),
    // Few at any time: what was announced and never came is found without a look at everything that did.
    index('runs_announced').on(table.id).where(sql`version = 0`),
    // Few of many in one place: neither index alone finds them without reading all of the other.
    index('runs_by_pool_and_status').on(table.tenantId, table.poolId, table.status, table.id),
    index('runs_by_environment_and_status').on(table.tenantId, table.environmentId, table.status, table.id),
    // Written once in a run's life, at its end.
    index('runs_by_end')
      .on(table.tenantId, table.status, table.finishedAt)
      .where(sql`finished_at IS NOT NULL`),
  ],
)

export const runEvents = sqliteTable(
  'run_events',
  {
    runId: text('run_id').notNull(),
    seq: integer('seq').notNull(),
    tenantId: text('tenant_id').notNull(),
    /** The event as the API shows it, JSON. */
    document: text('document').notNull(),
  },
  table => [primaryKey({ columns: [table.runId, table.seq] })],
)
