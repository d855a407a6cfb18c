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

/** A job can have its picture come and go with every frame, and must not have the pool written to each time. */
const FLIP_PAUSE_MS = 1_000

/** Keeps the pool's object told: one report at a time, always with the newest facts, until it knows them. */
export class PoolReport {
  readonly #parts: PoolReportParts
  /** As the pool last took it; null when that is not known. */
  #told: StreamReport | null = null
  /** Before then no report is made whose only news is whether there is a picture. */
  #pausedUntil = 0
  #wake: () => void = () => undefined
  #telling: Promise<void> | null = null

  constructor(parts: PoolReportParts) {
    this.#parts = parts
  }

  /** The next report is made although nothing has changed: its answer may have. */
  forget(): void {
    this.#told = null
  }

  /** Resolves when the pool knows, or could not be told. */
  async tell(): Promise<void> {
    this.#wake()
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
        const news = newsOf(this.#told, report)
        if (news === 'none') return
        if (news === 'flip' && Date.now() < this.#pausedUntil) {
          await this.#pause()
          continue
        }
        if (news === 'flip') this.#pausedUntil = Date.now() + FLIP_PAUSE_MS
        const heard = await send(report)
        this.#told = report
        const isOver = heard.ok ? !heard.value.live : heard.error.code === 'not_found'
        if (isOver) return await onOver()
      }
    } catch (error) {
      onFailure(reasonOf(error))
    }
  }

  /** Until a flip may be told, or something has changed that may be more than one. */
  async #pause(): Promise<void> {
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, this.#pausedUntil - Date.now())
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

function newsOf(told: StreamReport | null, report: StreamReport): 'none' | 'flip' | 'more' {
  if (told === null || told.viewers !== report.viewers || told.publisher !== report.publisher) return 'more'
  if (told.state === report.state) return 'none'
  return 'flip'
}
