import type { Result } from '../../protocol/errors.ts'
import { reasonOf } from '../log.ts'
import type { StreamReport } from './rpc.ts'

export interface PoolReportParts {
  readonly facts: () => StreamReport
  readonly send: (report: StreamReport) => Promise<Result<{ live: boolean }>>
  /** The pool says that the session does not live any more. */
  readonly onOver: () => Promise<void>
  readonly onFailure: (reason: string) => void
}

/** Keeps the pool's object told: one report at a time, always with the newest facts, until it knows them. */
export class PoolReport {
  readonly #parts: PoolReportParts
  /** As the pool last took it; empty when that is not known. */
  #told = ''
  #telling: Promise<void> | null = null

  constructor(parts: PoolReportParts) {
    this.#parts = parts
  }

  /** The next report is made although nothing has changed: its answer may have. */
  forget(): void {
    this.#told = ''
  }

  /** Resolves when the pool knows, or could not be told. */
  async tell(): Promise<void> {
    this.#telling ??= this.#tellAll().finally(() => {
      this.#telling = null
    })
    await this.#telling
  }

  async #tellAll(): Promise<void> {
    const { facts, send, onOver, onFailure } = this.#parts
    try {
      for (;;) {
        const report = facts()
        const text = JSON.stringify(report)
        if (text === this.#told) return
        const heard = await send(report)
        this.#told = text
        const isOver = heard.ok ? !heard.value.live : heard.error.code === 'not_found'
        if (isOver) return await onOver()
      }
    } catch (error) {
      onFailure(reasonOf(error))
    }
  }
}
