import { backoffMs } from '../api/backoff.ts'
import { explain } from '../api/classify.ts'
import type { UploadCalls } from '../api/uploads.ts'
import { type Clock, sleep } from '../clock.ts'
import { Latch } from '../latch.ts'
import { type Log, reasonOf } from '../log.ts'
import { artifactFiles } from './artifact-files.ts'
import { bringArtifact } from './bring-artifact.ts'
import { bringLog } from './bring-log.ts'
import { fillSpool } from './fill-spool.ts'
import { Patience, RETRY_CAP_MS } from './patience.ts'
import { Spool } from './spool.ts'

/**
 * Brings what one session leaves to the control plane: its output while it is made, its artifacts after the end.
 *
 * The output is copied into a spool as fast as it comes, so the container may go as soon as it has ended, however slow
 * the line is. The spool is brought by offset: the control plane says where it stands, and whatever was lost or sent
 * twice, it goes on from there. Nothing here is remembered across a restart; it is all found again.
 */

/** An output that ended before its session is read again at this pace. */
const REREAD_MS = 1_000
/** Remarks on artifacts that are said one by one. */
const SAID_LIMIT = 30
const MISSING = {
  end: 'the end of the output is missing: it could not be read while there was a container',
  between:
    'part of the output is missing: the Docker Engine left it out, or threw it away before it was read',
} as const

export interface CollectorParts {
  readonly sessionId: string
  readonly folder: string
  readonly spoolPath: string
  readonly logCapBytes: number
  /** See `Executor.output`. */
  readonly output: (signal: AbortSignal) => AsyncIterable<Uint8Array>
  readonly calls: UploadCalls
  readonly clock: Clock
  readonly log: Log
}

export class Collector {
  readonly #parts: CollectorParts
  readonly #patience: Patience
  readonly #grown = new Latch()
  readonly #ended = Promise.withResolvers<void>()
  readonly #spooled = Promise.withResolvers<void>()
  #hasEnded = false

  constructor(parts: CollectorParts) {
    this.#parts = parts
    this.#patience = new Patience(parts.clock)
  }

  /** Resolves once the container is no longer needed. */
  get spooled(): Promise<void> {
    return this.#spooled.promise
  }

  /** The session has ended; nothing changes in its folder any more. */
  end(): void {
    this.#hasEnded = true
    this.#patience.begin()
    this.#ended.resolve()
  }

  /** Resolves when everything was brought, or will never be taken. Rejects on abort; a later run goes on. */
  async run(signal: AbortSignal): Promise<void> {
    for (let failures = 1; ; failures++) {
      try {
        await this.#collect(signal)
        signal.throwIfAborted()
        return
      } catch (error) {
        if (signal.aborted || this.#patience.isOver()) throw error
        this.#complain(failures, error, 'what the session leaves cannot be collected; trying again')
        await sleep(backoffMs(failures, 0, Math.random, RETRY_CAP_MS), signal)
      }
    }
  }

  async #collect(signal: AbortSignal): Promise<void> {
    const { spoolPath, logCapBytes } = this.#parts
    const spool = await Spool.open(spoolPath, logCapBytes)
    const failed = new AbortController()
    const stop = AbortSignal.any([signal, failed.signal])
    const orFail = (error: unknown) => {
      failed.abort()
      throw error
    }
    // Artifacts do not wait for the log: a slow line would take all the time there is for it.
    const work = [this.#bringLog(spool, stop), this.#fill(spool, stop).then(() => this.#bringArtifacts(stop))]
    try {
      // All of it is over before the file is closed.
      const outcomes = await Promise.allSettled(work.map(part => part.catch(orFail)))
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
    } finally {
      await spool.release()
    }
  }

  async #fill(spool: Spool, signal: AbortSignal): Promise<void> {
    const missing = await this.#readOutput(spool, signal)
    if (signal.aborted) return
    this.#spooled.resolve()
    await settled(this.#ended.promise, signal)
    if (signal.aborted) return
    const remarks = await this.#remarks()
    await spool.close(missing === null ? remarks : [missing, ...remarks])
    this.#grown.raise()
  }

  /**
   * Until the log is full, or was read to its end after the session's own: an Engine may end it earlier, or before the
   * last of the output was in it. @returns what is missing, or null
   */
  async #readOutput(spool: Spool, signal: AbortSignal): Promise<string | null> {
    let failures = 0
    let isWhole = true
    for (let passes = 1; !signal.aborted; passes++) {
      const isLast = this.#hasEnded
      try {
        const { hasRead, ...filled } = await fillSpool(this.#watched(this.#parts.output(signal)), spool)
        isWhole &&= filled.isWhole
        failures = 0
        if (isLast && !hasRead && passes > 1 && spool.length > 0) return MISSING.end
        if (isLast || spool.isFull) return isWhole ? null : MISSING.between
        await settled(this.#ended.promise, signal, REREAD_MS)
      } catch (error) {
        if (signal.aborted) break
        failures += 1
        this.#complain(failures, error, 'the output of the session cannot be kept; trying again')
        await sleep(backoffMs(failures, REREAD_MS, Math.random, RETRY_CAP_MS), signal)
      }
    }
    return null
  }

  async *#watched(output: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const bytes of output) {
      yield bytes
      this.#grown.raise()
    }
  }

  /** What will not be among the artifacts, or by another name, is said where people look. */
  async #remarks(): Promise<string[]> {
    const said: string[] = []
    let more = 0
    for await (const left of artifactFiles(this.#artifactsFolder)) {
      if (left.kind === 'file') continue
      if (said.length < SAID_LIMIT) said.push(left.text)
      else more += 1
    }
    if (more > 0) said.push(`${more} more remarks like these are left out`)
    if (said.length > 0) this.#parts.log.warn({ said }, 'some artifacts are not kept, or by another name')
    return said
  }

  #bringLog(spool: Spool, signal: AbortSignal): Promise<void> {
    const { calls, clock, log, sessionId } = this.#parts
    const patience = this.#patience
    return bringLog({ spool, grown: this.#grown, calls, sessionId, patience, clock, log }, signal)
  }

  async #bringArtifacts(signal: AbortSignal): Promise<void> {
    const { calls, log, sessionId } = this.#parts
    for await (const left of artifactFiles(this.#artifactsFolder)) {
      if (signal.aborted) return
      if (left.kind === 'remark') continue
      const { name } = left.artifact
      const outcome = await bringArtifact(
        { calls, sessionId, patience: this.#patience },
        left.artifact,
        signal,
      )
      if (signal.aborted) return
      if (outcome.kind === 'taken') {
        log.info({ name }, 'artifact uploaded')
      } else if (outcome.kind === 'refused') {
        log.warn({ name, reason: explain(outcome.failure) }, 'artifact not uploaded')
      } else {
        log.warn({ name, reason: explain(outcome.failure) }, 'this artifact and those after it are not taken')
        return
      }
    }
  }

  get #artifactsFolder(): string {
    return `${this.#parts.folder}/artifacts`
  }

  #complain(failures: number, error: unknown, complaint: string): void {
    const { log } = this.#parts
    const line = { failures, error: reasonOf(error) }
    if (failures === 1) log.warn(line, complaint)
    else log.debug(line, complaint)
  }
}

/** Resolves with the promise, on abort, or when it can be waited for no longer. */
async function settled(waited: Promise<void>, signal: AbortSignal, limitMs?: number): Promise<void> {
  const over = Promise.withResolvers<void>()
  const end = () => over.resolve()
  const timer = limitMs === undefined ? undefined : setTimeout(end, limitMs)
  signal.addEventListener('abort', end, { once: true })
  if (signal.aborted) end()
  await Promise.race([waited, over.promise])
  signal.removeEventListener('abort', end)
  clearTimeout(timer)
}
