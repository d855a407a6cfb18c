import { z } from 'zod'
import { Artifact, type BeginUpload, LogAppended, UploadBegun } from '../../protocol/session-files.ts'
import type { ApiClient, ApiResult, RunnerIdentity } from './client.ts'
import { runnerPath } from './client.ts'

/** A chunk or a part over a slow line takes longer than a call that says something. */
const UPLOAD_TIMEOUT_MS = 120_000

const PartsReceived = z.object({ parts_received: z.array(z.number()) })

/** See `LogChunkQuery`. */
export interface LogChunk {
  readonly offset: number
  readonly bytes: Uint8Array
  readonly complete: boolean
  readonly cut: boolean
}

/** The calls that bring what a session leaves. */
export class UploadCalls {
  readonly #api: ApiClient
  readonly #who: () => RunnerIdentity

  constructor(api: ApiClient, who: () => RunnerIdentity) {
    this.#api = api
    this.#who = who
  }

  appendLog(sessionId: string, chunk: LogChunk, signal: AbortSignal): Promise<ApiResult<LogAppended>> {
    const query = `offset=${chunk.offset}${chunk.complete ? '&complete=1' : ''}${chunk.cut ? '&cut=1' : ''}`
    return this.#api.upload(
      'POST',
      this.#path(sessionId, `logs?${query}`),
      LogAppended,
      this.#with(chunk.bytes, signal),
    )
  }

  begin(sessionId: string, body: BeginUpload, signal: AbortSignal): Promise<ApiResult<UploadBegun>> {
    return this.#api.post(
      this.#path(sessionId, 'artifacts'),
      UploadBegun,
      body,
      this.#who().credential,
      signal,
    )
  }

  putPart(
    sessionId: string,
    uploadId: string,
    part: number,
    bytes: Uint8Array,
    signal: AbortSignal,
  ): Promise<ApiResult<z.infer<typeof PartsReceived>>> {
    const path = this.#path(sessionId, `artifacts/${uploadId}/parts/${part}`)
    return this.#api.upload('PUT', path, PartsReceived, this.#with(bytes, signal))
  }

  complete(sessionId: string, uploadId: string, signal: AbortSignal): Promise<ApiResult<Artifact>> {
    const path = this.#path(sessionId, `artifacts/${uploadId}/complete`)
    return this.#api.post(path, Artifact, {}, this.#who().credential, signal)
  }

  #path(sessionId: string, call: string): string {
    return runnerPath(this.#who(), `sessions/${sessionId}/${call}`)
  }

  #with(bytes: Uint8Array, signal: AbortSignal) {
    return { bytes, bearer: this.#who().credential, signal, timeoutMs: UPLOAD_TIMEOUT_MS }
  }
}
