import type { CommandType } from '../../../protocol/runner-api.ts'
import { integer, type Sql, text, textOrNull } from '../../storage/sql.ts'
import type { CommandRecord } from '../core/model.ts'

/** Orders not yet acknowledged. */
export class CommandTable {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  ofRunner(runnerId: string): CommandRecord[] {
    return this.#sql
      .exec('SELECT * FROM commands WHERE runner_id = ? ORDER BY command_id', runnerId)
      .map(row => ({
        id: text(row, 'command_id'),
        runnerId: text(row, 'runner_id'),
        sessionId: text(row, 'session_id'),
        type: text(row, 'type') as CommandType,
        reason: textOrNull(row, 'reason'),
        issuedAt: integer(row, 'issued_at'),
      }))
  }

  insert(command: CommandRecord): void {
    this.#sql.exec(
      'INSERT INTO commands (runner_id, command_id, session_id, type, reason, issued_at) VALUES (?, ?, ?, ?, ?, ?)',
      command.runnerId,
      command.id,
      command.sessionId,
      command.type,
      command.reason,
      command.issuedAt,
    )
  }

  delete(command: CommandRecord): void {
    this.#sql.exec(
      'DELETE FROM commands WHERE runner_id = ? AND command_id = ?',
      command.runnerId,
      command.id,
    )
  }
}
