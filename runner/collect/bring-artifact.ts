import type { ErrorCode } from '../../protocol/errors.ts'
import { ARTIFACT_PART_BYTES } from '../../protocol/limits.ts'
import type { ApiFailure, ApiResult } from '../api/client.ts'
import type { UploadCalls } from '../api/uploads.ts'
import { type ArtifactFile, readAt } from './artifact-files.ts'
import type { Patience } from './patience.ts'

export interface Bringing {
  readonly calls: Pick<UploadCalls, 'begin' | 'putPart' | 'complete'>
  readonly sessionId: string
  readonly patience: Patience
}

export type Outcome =
  | { readonly kind: 'taken' }
  /** Only this one is not taken. */
  | { readonly kind: 'refused'; readonly failure: ApiFailure }
  /** Nothing of the session is taken any more. */
  | { readonly kind: 'over'; readonly failure: ApiFailure }

/** What is wrong with one artifact; every other refusal is of the session. */
const OF_ONE: ReadonlySet<ErrorCode> = new Set(['conflict', 'invalid_request', 'payload_too_large'])

/** Brings one artifact, all but the parts that the control plane has by now. Every step may be repeated. */
export async function bringArtifact(
  { calls, sessionId, patience }: Bringing,
  { name, file, hashed }: ArtifactFile,
  signal: AbortSignal,
): Promise<Outcome> {
  const persist = <T>(call: () => Promise<ApiResult<T>>) => persistently(call, patience, signal)
  const { size, sha256 } = await hashed()
  const begun = await persist(() => calls.begin(sessionId, { name, size, sha256 }, signal))
  if (!begun.ok) return outcomeOf(begun.failure)
  const { upload_id, part_size_bytes, parts_received } = begun.value
  const partBytes = Math.min(part_size_bytes, ARTIFACT_PART_BYTES)
  const received = new Set(parts_received)
  for (let part = 1; (part - 1) * partBytes < size; part++) {
    if (received.has(part)) continue
    const at = (part - 1) * partBytes
    const bytes = await readAt(file, at, Math.min(partBytes, size - at))
    const put = await persist(() => calls.putPart(sessionId, upload_id, part, bytes, signal))
    if (!put.ok) return outcomeOf(put.failure)
  }
  const completed = await persist(() => calls.complete(sessionId, upload_id, signal))
  return completed.ok ? { kind: 'taken' } : outcomeOf(completed.failure)
}

async function persistently<T>(
  call: () => Promise<ApiResult<T>>,
  patience: Patience,
  signal: AbortSignal,
): Promise<ApiResult<T>> {
  for (let failures = 1; ; failures++) {
    const result = await call()
    if (result.ok) patience.renew()
    if (result.ok || !(await patience.mayTryAgain(result.failure, failures, signal))) return result
  }
}

function outcomeOf(failure: ApiFailure): Outcome {
  const isOfOne = failure.kind === 'refused' && OF_ONE.has(failure.problem.code)
  return { kind: isOfOne ? 'refused' : 'over', failure }
}
