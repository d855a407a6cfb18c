import type { ERRORS } from '../../protocol/errors.ts'
import { ARTIFACT_PART_BYTES, LOG_CHUNK_LIMIT_BYTES } from '../../protocol/limits.ts'
import { backoffMs } from '../api/backoff.ts'
import { explain } from '../api/classify.ts'
import type { ApiFailure, ApiResult } from '../api/client.ts'
import type { UploadCalls } from '../api/uploads.ts'
import { type Clock, sleep } from '../clock.ts'
import { Latch } from '../daemon/latch.ts'
import { type Log, reasonOf } from '../log.ts'
import { type ArtifactFile, artifactFiles, readAt } from './artifact-files.ts'
import { fillSpool } from './fill-spool.ts'
import { Spool } from './spool.ts'

/**
 * Brings what one session leaves to the control plane: its output while it is made, its artifacts after the end.
 *
 * The output is copied into a spool as fast as it comes, so the container may go as soon as it has ended, however slow
 * the line is. The spool is brought by offset: the control plane says where it stands, and whatever was lost or sent
 * twice, it goes on from there. Nothing here is remembered across a restart; it is all found again.
 */

/** Output is brought this often while it comes. */
const LOG_PACE_MS = 500
/** So much output is brought at once without waiting. */
const LOG_EAGER_BYTES = 256 * 1024
const RETRY_CAP_MS = 15_000
/** After the end, failing for so long: the control plane takes nothing by then. */
const PATIENCE_MS = 30 * 60_000
const REREAD_MS = 1_000

/** Refusals that may pass. */
const PASSING = new Set<keyof typeof ERRORS>([
  'overloaded',
  'rate_limited',
  'offset_mismatch',
  'unauthenticated',
])

export interface CollectorParts {
  readonly sessionId: string
  readonly folder: string
  readonly spoolPath: string
  readonly logCapBytes: number
  /** The session's output from its beginning, formatted; ends with the session. Rejects when it cannot be read now. */
  readonly output: (signal: AbortSignal) => AsyncIterable<Uint8Array>
  readonly calls: UploadCalls
  readonly clock: Clock
  readonly log: Log
  readonly onTruncated: () => void
}

export class Collector {
  readonly #parts: CollectorParts
  readonly #grown = new Latch()
  readonly #ended = Promise.withResolvers<void>()
  readonly #spooled = Promise.withResolvers<void>()
  #isSpooled = false
  #endedAtMs: number | null = null

  constructor(parts: CollectorParts) {
    this.#parts = parts
  }

  /** Resolves once the container is no longer needed. */
  get spooled(): Promise<void> {
    return this.#spooled.promise
  }

  /** The session has ended; nothing changes in its folder any more. */
  end(): void {
    this.#endedAtMs ??= this.#parts.clock.now()
    this.#ended.resolve()
    this.#grown.raise()
  }

  /** Resolves when everything was brought, or will never be taken. Rejects on abort; a later run goes on. */
  async run(signal: AbortSignal): Promise<void> {
    const { spoolPath, logCapBytes } = this.#parts
    const spool = await Spool.open(spoolPath, logCapBytes)
    try {
      const [, isTaken] = await Promise.all([this.#fill(spool, signal), this.#bringLog(spool, signal)])
      if (isTaken) await this.#bringArtifacts(signal)
    } finally {
      await spool.close()
    }
    signal.throwIfAborted()
  }

  async #fill(spool: Spool, signal: AbortSignal): Promise<void> {
    const { output, log } = this.#parts
    for (let failures = 1; !signal.aborted; failures++) {
      try {
        await fillSpool(this.#watched(output(signal)), spool)
        break
      } catch (error) {
        if (signal.aborted) return
        if (failures === 1)
          log.warn({ error: reasonOf(error) }, 'the output of the session cannot be read; trying again')
        await sleep(REREAD_MS, signal)
      }
    }
    if (signal.aborted) return
    if (spool.isFull) this.#parts.onTruncated()
    this.#spooled.resolve()
    await this.#raceAbort(this.#ended.promise, signal)
    if (signal.aborted) return
    await this.#noteUnkept(spool)
    this.#isSpooled = true
    this.#grown.raise()
  }

  async *#watched(output: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const bytes of output) {
      yield bytes
      this.#grown.raise()
    }
    this.#grown.raise()
  }

  /** What will not be among the artifacts is said where people look. */
  async #noteUnkept(spool: Spool): Promise<void> {
    for await (const left of artifactFiles(`${this.#parts.folder}/artifacts`)) {
      if (left.kind === 'refused') await spool.note(left.why)
    }
  }

  /** @returns whether the control plane takes anything of this session */
  async #bringLog(spool: Spool, signal: AbortSignal): Promise<boolean> {
    const { calls, sessionId, log } = this.#parts
    let offset = 0
    let failures = 0
    while (!signal.aborted) {
      const isLast = this.#isSpooled
      const bytes = await spool.read(offset, LOG_CHUNK_LIMIT_BYTES)
      const complete = isLast && offset + bytes.length >= spool.length
      if (bytes.length === 0 && !complete) {
        await this.#grown.wait(RETRY_CAP_MS, signal)
        if (!this.#isSpooled && spool.length - offset < LOG_EAGER_BYTES) await sleep(LOG_PACE_MS, signal)
        continue
      }
      const sent = await calls.appendLog(sessionId, { offset, bytes, complete }, signal)
      if (sent.ok) {
        failures = 0
        offset += bytes.length
        if (sent.value.truncated) {
          this.#parts.onTruncated()
          await this.#raceAbort(this.#spooled.promise, signal)
          return true
        }
        if (complete) return true
        continue
      }
      const stands = standsAt(sent.failure)
      if (stands !== null && stands !== offset && stands <= spool.length) {
        offset = stands
        continue
      }
      // Kept in full before, by a call whose reply was lost.
      if (stands === offset && complete && bytes.length === 0) return true
      failures += 1
      if (!(await this.#mayTryAgain(sent.failure, failures, signal))) {
        if (!signal.aborted) log.warn({ reason: explain(sent.failure) }, 'the rest of the log is not taken')
        return false
      }
    }
    return false
  }

  async #bringArtifacts(signal: AbortSignal): Promise<void> {
    const { folder, log } = this.#parts
    for await (const left of artifactFiles(`${folder}/artifacts`)) {
      if (signal.aborted) return
      if (left.kind === 'refused') {
        log.warn({ reason: left.why }, 'an artifact is not kept')
        continue
      }
      const { name } = left.artifact
      const problem = await this.#bring(left.artifact, signal)
      if (signal.aborted) return
      if (problem === null) log.info({ name }, 'artifact uploaded')
      else log.warn({ name, reason: problem }, 'artifact not uploaded')
    }
  }

  /** @returns why it was not taken, or null */
  async #bring({ name, file, hashed }: ArtifactFile, signal: AbortSignal): Promise<string | null> {
    const { calls, sessionId } = this.#parts
    const { size, sha256 } = await hashed()
    const begun = await this.#persist(() => calls.begin(sessionId, { name, size, sha256 }, signal), signal)
    if (!begun.ok) return explain(begun.failure)
    const { upload_id, part_size_bytes, parts_received } = begun.value
    const partBytes = Math.min(part_size_bytes, ARTIFACT_PART_BYTES)
    for (let part = 1; (part - 1) * partBytes < size; part++) {
      if (parts_received.includes(part)) continue
      const bytes = await readAt(
        file,
        (part - 1) * partBytes,
        Math.min(partBytes, size - (part - 1) * partBytes),
      )
      const put = await this.#persist(() => calls.putPart(sessionId, upload_id, part, bytes, signal), signal)
      if (!put.ok) return explain(put.failure)
    }
    const completed = await this.#persist(() => calls.complete(sessionId, upload_id, signal), signal)
    return completed.ok ? null : explain(completed.failure)
  }

  async #persist<T>(call: () => Promise<ApiResult<T>>, signal: AbortSignal): Promise<ApiResult<T>> {
    for (let failures = 1; ; failures++) {
      const result = await call()
      if (result.ok || !(await this.#mayTryAgain(result.failure, failures, signal))) return result
    }
  }

  /** Waits before the next attempt. @returns false when there is to be none */
  async #mayTryAgain(failure: ApiFailure, failures: number, signal: AbortSignal): Promise<boolean> {
    const isFinal = failure.kind === 'refused' && !PASSING.has(failure.problem.code)
    const isLate = this.#endedAtMs !== null && this.#parts.clock.now() > this.#endedAtMs + PATIENCE_MS
    if (signal.aborted || isFinal || isLate) return false
    const retryAfterMs = failure.kind === 'unreachable' ? 0 : Math.min(failure.retryAfterMs, RETRY_CAP_MS)
    await sleep(backoffMs(failures, retryAfterMs, Math.random, RETRY_CAP_MS), signal)
    return !signal.aborted
  }

  async #raceAbort(waited: Promise<void>, signal: AbortSignal): Promise<void> {
    const aborted = Promise.withResolvers<void>()
    const onAbort = () => aborted.resolve()
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
    await Promise.race([waited, aborted.promise])
    signal.removeEventListener('abort', onAbort)
  }
}

/** Where the control plane's copy of the log ends, when that is what it answered. */
function standsAt(failure: ApiFailure): number | null {
  if (failure.kind !== 'refused' || failure.problem.code !== 'offset_mismatch') return null
  return failure.problem.length ?? null
}
