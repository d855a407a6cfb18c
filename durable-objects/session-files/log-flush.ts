import { SEGMENT_BYTES, segmentKey } from './rpc.ts'
import type { FilesRecord, FilesStore } from './store.ts'

export interface LogFlushParts {
  readonly blobs: () => Pick<R2Bucket, 'put'>
  readonly store: Pick<FilesStore, 'bytes'>
  /** The record as it is now; null once everything is erased. */
  readonly files: () => FilesRecord | null
  readonly logPrefix: (files: FilesRecord) => string
  /** Object storage has the log up to there; in one transaction. */
  readonly onStored: (until: number) => void
  readonly onFailure: (error: unknown) => void
}

/**
 * Brings the log to object storage in whole segments, and its rest once it is complete; one at a time. A segment
 * always holds the same bytes under the same name, so writing it twice is writing it once, and a crash between writing
 * it and dropping the rows loses and doubles nothing.
 */
export class LogFlush {
  readonly #parts: LogFlushParts
  #flushing: Promise<void> | null = null

  constructor(parts: LogFlushParts) {
    this.#parts = parts
  }

  /** Never rejects. */
  async run(): Promise<void> {
    this.#flushing ??= this.#flushAll()
      .catch(error => this.#parts.onFailure(error))
      .finally(() => {
        this.#flushing = null
      })
    await this.#flushing
  }

  async #flushAll(): Promise<void> {
    const { blobs, store, files, logPrefix, onStored } = this.#parts
    for (;;) {
      const now = files()
      if (now === null) return
      const waiting = now.kept - now.stored
      const size = waiting >= SEGMENT_BYTES ? SEGMENT_BYTES : now.log.complete ? waiting : 0
      if (size === 0) return
      const until = now.stored + size
      await blobs().put(segmentKey(logPrefix(now), now.stored), store.bytes(now.stored, until), {
        httpMetadata: { contentType: 'text/plain; charset=utf-8' },
      })
      onStored(until)
    }
  }
}
