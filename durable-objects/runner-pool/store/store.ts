import type { PoolState } from '../../../protocol/admin-api.ts'
import { type Sql, text, textOrNull } from '../../storage/sql.ts'
import type { PoolRecord } from '../core/model.ts'
import type { PoolIdentity } from '../rpc.ts'
import { CommandTable } from './commands.ts'
import { CountTable } from './counts.ts'
import { EndedSessionTable } from './ended-sessions.ts'
import { LeaseTable } from './leases.ts'
import { OutboxTable } from './outbox.ts'
import { QueueTable } from './queue.ts'
import { RunnerTable } from './runners.ts'
import { RunTable } from './runs.ts'
import { SampleTable } from './samples.ts'
import { isInitialised, migrate } from './schema.ts'
import { StreamTable } from './streams.ts'

/** The pool's tables as lists of named queries. Synchronous: a command of the object is one transaction. */
export class PoolStore {
  readonly runs: RunTable
  readonly queue: QueueTable
  readonly runners: RunnerTable
  readonly leases: LeaseTable
  readonly commands: CommandTable
  readonly outbox: OutboxTable
  readonly streams: StreamTable
  readonly endedSessions: EndedSessionTable
  readonly samples: SampleTable
  readonly counts: CountTable
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
    this.runs = new RunTable(sql)
    this.queue = new QueueTable(sql)
    this.runners = new RunnerTable(sql)
    this.leases = new LeaseTable(sql)
    this.commands = new CommandTable(sql)
    this.outbox = new OutboxTable(sql)
    this.streams = new StreamTable(sql)
    this.endedSessions = new EndedSessionTable(sql)
    this.samples = new SampleTable(sql)
    this.counts = new CountTable(sql)
  }

  /** The pool, or null for an object that was never initialised; creates nothing. */
  open(): PoolRecord | null {
    if (!isInitialised(this.#sql)) return null
    migrate(this.#sql)
    const [row] = this.#sql.exec('SELECT * FROM pool')
    if (row === undefined) return null
    return {
      tenantId: text(row, 'tenant_id'),
      tenantSlug: text(row, 'tenant_slug'),
      poolId: text(row, 'pool_id'),
      state: text(row, 'state') as PoolState,
      note: textOrNull(row, 'note'),
    }
  }

  initialise(identity: PoolIdentity): void {
    migrate(this.#sql)
    this.#sql.exec(
      `INSERT OR IGNORE INTO pool (id, tenant_id, tenant_slug, pool_id, state) VALUES (1, ?, ?, ?, 'active')`,
      identity.tenant_id,
      identity.tenant_slug,
      identity.pool_id,
    )
  }

  /** Whether anything is on record that an alarm must see to. */
  hasDues(): boolean {
    const tables = ['leases', 'queue_deadlines', 'outbox', 'retention']
    return tables.some(table => this.#sql.exec(`SELECT 1 FROM ${table} LIMIT 1`).length > 0)
  }

  savePool(pool: PoolRecord): void {
    this.#sql.exec('UPDATE pool SET state = ?, note = ?', pool.state, pool.note)
  }
}
