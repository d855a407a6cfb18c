import type { SyncResponse } from '../../protocol/runner-api.ts'
import type { Log } from '../log.ts'

/** What the control plane wants, said when it first says so: each reply repeats all of it until it is done. */
export class ReplyLog {
  readonly #log: Pick<Log, 'info' | 'warn'>
  /** What the last reply had in it. */
  #said = new Set<string>()

  constructor(log: Pick<Log, 'info' | 'warn'>) {
    this.#log = log
  }

  note({ offers, commands, leases }: Pick<SyncResponse, 'offers' | 'commands' | 'leases'>): void {
    const before = this.#said
    this.#said = new Set()
    const isNew = (what: string) => {
      this.#said.add(what)
      return !before.has(what)
    }
    for (const { session_id, run_id, attempt, job } of offers) {
      if (isNew(`offer ${session_id}`))
        this.#log.info({ session_id, run_id, attempt, image: job.image }, 'offered a session')
    }
    for (const { id, type, session_id, reason } of commands) {
      if (isNew(`command ${id}`)) this.#log.info({ command_id: id, session_id, reason }, `command: ${type}`)
    }
    for (const { session_id, verdict } of leases) {
      if (verdict === 'stop' && isNew(`stop ${session_id}`))
        this.#log.warn({ session_id }, 'the control plane no longer knows the session as live: stop')
    }
  }
}
