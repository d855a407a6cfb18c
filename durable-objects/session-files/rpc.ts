import type { Result } from '../../protocol/errors.ts'
import type { Artifact, BeginUpload, LogAppended, UploadBegun } from '../../protocol/session-files.ts'
import type { SessionIdentity } from '../session-identity.ts'

/**
 * What the Worker may ask of a session's files. Calls that write carry the identity that the pool's object vouched
 * for, and the first of them initialises the object; calls that read name the run and find nothing elsewhere.
 */
export interface SessionFilesRpc {
  /** `offset_mismatch` with the length so far, unless the chunk begins there. At most 1 MiB. */
  append(identity: SessionIdentity, chunk: Chunk): Promise<AppendResult>
  /** The run has an event by now that says so: it is not to be told again. */
  cutTold(identity: SessionIdentity): Promise<void>
  /** Null where nothing was ever kept for the run. */
  logShape(runId: string): Promise<LogShape | null>
  /** Bytes that are not in object storage yet; null where they are, by now. At most `TAIL_READ_BYTES`. */
  readTail(runId: string, from: number, to: number): Promise<ArrayBuffer | null>
  /** Resolves when the log is longer than `after` or complete, or after `waitMs`. */
  waitForLog(runId: string, after: number, waitMs: number): Promise<LogShape | null>

  beginUpload(identity: SessionIdentity, wanted: BeginUpload): Promise<Result<UploadBegun>>
  /** Where the Worker is to put a part, and how long it must be. */
  partPlace(identity: SessionIdentity, uploadId: string, part: number): Promise<Result<PartPlace>>
  partStored(
    identity: SessionIdentity,
    uploadId: string,
    part: number,
    etag: string,
  ): Promise<Result<{ parts_received: number[] }>>
  completeUpload(identity: SessionIdentity, uploadId: string): Promise<Result<Artifact>>
  artifacts(runId: string): Promise<Artifact[]>
  /** The object that holds it, or null. */
  artifact(runId: string, name: string): Promise<{ readonly artifact: Artifact; readonly key: string } | null>
}

export interface Chunk {
  readonly offset: number
  readonly bytes: ArrayBuffer
  readonly complete: boolean
  /** The runner keeps no more of the output. */
  readonly cut: boolean
}

/** Beside the refusal, where the log stands: the runner goes on from there. */
export type AppendResult =
  /** `tellCut`: at one end or the other the log was cut, and the run has no event yet that says so. */
  | { readonly ok: true; readonly value: LogAppended; readonly tellCut: boolean }
  | {
      readonly ok: false
      readonly error: {
        readonly code: 'offset_mismatch' | 'session_ended' | 'overloaded'
        readonly detail: string
      }
      readonly length: number
    }

export interface LogShape {
  /** All there is to read, the notice at the end of a cut log included. */
  readonly length: number
  /** So much of it is in object storage, in segments of `SEGMENT_BYTES`. */
  readonly stored: number
  readonly complete: boolean
  /** Where the segments are. */
  readonly prefix: string
}

export interface PartPlace {
  readonly key: string
  /** Null for an object of one part. */
  readonly r2_upload_id: string | null
  readonly bytes: number
  readonly sha256: string
  readonly content_type: string
}

export const SEGMENT_BYTES = 8 * 1024 * 1024
export const TAIL_READ_BYTES = 1024 * 1024

/** @param offset of the segment's first byte */
export function segmentKey(prefix: string, offset: number): string {
  return `${prefix}${String(offset).padStart(12, '0')}`
}
