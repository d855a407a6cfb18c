import { z } from 'zod'
import { hexOf } from '../../durable-objects/session-files/core/uploads.ts'
import type { SessionIdentity } from '../../durable-objects/session-identity.ts'
import { accepted, type Result, refused } from '../../protocol/errors.ts'
import { PoolId, RunnerId, SessionId } from '../../protocol/ids.ts'
import { ARTIFACT_PART_BYTES, LOG_CHUNK_LIMIT_BYTES } from '../../protocol/limits.ts'
import {
  Artifact,
  BeginUpload,
  LogAppended,
  LogChunkQuery,
  UploadBegun,
  UploadId,
} from '../../protocol/session-files.ts'
import type { RunnerProcess } from '../auth/callers.ts'
import { poolRunner } from '../auth/guards.ts'
import { created, done } from '../http/reply.ts'
import { type Call, defineRoute } from '../http/route.ts'

const SessionPath = z.object({ pool_id: PoolId, runner_id: RunnerId, session_id: SessionId })
type SessionPath = z.output<typeof SessionPath>
const UploadPath = SessionPath.extend({ upload_id: UploadId })

const SESSION = '/runner/v1/pools/{pool_id}/runners/{runner_id}/sessions/{session_id}'

/** What a runner brings of a session: the log while it grows, the artifacts after the end. */
export const uploadRoutes = [
  defineRoute({
    method: 'post',
    path: `${SESSION}/logs`,
    tag: 'Runner',
    summary: 'Append a chunk to the log, at the offset where it ends',
    guard: poolRunner,
    params: SessionPath,
    query: LogChunkQuery,
    statuses: [200],
    answer: LogAppended,
    refusals: ['not_found', 'session_ended', 'offset_mismatch', 'length_required', 'payload_too_large'],
    async handle(call, { params, query }) {
      const granted = await grant(call, params)
      if (!granted.ok) return granted
      const bytes = await readExactly(call.request, LOG_CHUNK_LIMIT_BYTES)
      if (!bytes.ok) return bytes
      const files = call.files(params.session_id)
      const { offset, complete, cut } = query
      const chunk = { offset, bytes: bytes.value, complete: complete === '1', cut: cut === '1' }
      const appended = await files.append(granted.value, chunk)
      if (appended.ok && appended.tellCut) await tellCut(call, params, granted.value)
      if (appended.ok) return accepted(done(appended.value))
      const { error, length } = appended
      return { ok: false, error: error.code === 'offset_mismatch' ? { ...error, length } : error }
    },
  }),
  defineRoute({
    method: 'post',
    path: `${SESSION}/artifacts`,
    tag: 'Runner',
    summary: 'Announce an artifact; repeating it gives the same upload',
    guard: poolRunner,
    params: SessionPath,
    body: BeginUpload,
    confirmCaller: grant,
    statuses: [201],
    answer: UploadBegun,
    refusals: ['not_found', 'session_ended', 'payload_too_large'],
    async handle(call, { params, body }) {
      const granted = await grant(call, params)
      if (!granted.ok) return granted
      const begun = await call.files(params.session_id).beginUpload(granted.value, body)
      return begun.ok ? accepted(created(begun.value)) : begun
    },
  }),
  defineRoute({
    method: 'put',
    path: `${SESSION}/artifacts/{upload_id}/parts/{part}`,
    tag: 'Runner',
    summary: 'Bring one part of an artifact',
    guard: poolRunner,
    params: UploadPath.extend({
      part: z
        .string()
        .regex(/^[1-9][0-9]{0,4}$/)
        .transform(Number),
    }),
    statuses: [200],
    answer: z.object({ parts_received: z.array(z.number().int()) }),
    refusals: [
      'not_found',
      'session_ended',
      'length_required',
      'payload_too_large',
      'invalid_request',
      'conflict',
    ],
    async handle(call, { params }) {
      const granted = await grant(call, params)
      if (!granted.ok) return granted
      const files = call.files(params.session_id)
      const place = await files.partPlace(granted.value, params.upload_id, params.part)
      if (!place.ok) return place
      const bytes = await readExactly(call.request, ARTIFACT_PART_BYTES)
      if (!bytes.ok) return bytes
      if (bytes.value.byteLength !== place.value.bytes) {
        return refused('invalid_request', `Part ${params.part} has ${place.value.bytes} bytes.`)
      }
      const etag = await store(call.env.BLOBS, place.value, params.part, bytes.value)
      if (etag === null)
        return refused('conflict', 'The bytes are not those that were announced: their SHA-256 differs.')
      const stored = await files.partStored(granted.value, params.upload_id, params.part, etag)
      return stored.ok ? accepted(done(stored.value)) : stored
    },
  }),
  defineRoute({
    method: 'post',
    path: `${SESSION}/artifacts/{upload_id}/complete`,
    tag: 'Runner',
    summary: 'Have the parts joined, checked and shown',
    guard: poolRunner,
    params: UploadPath,
    statuses: [200],
    answer: Artifact,
    refusals: ['not_found', 'session_ended', 'conflict'],
    async handle(call, { params }) {
      const granted = await grant(call, params)
      if (!granted.ok) return granted
      const completed = await call.files(params.session_id).completeUpload(granted.value, params.upload_id)
      return completed.ok ? accepted(done(completed.value)) : completed
    },
  }),
]

async function grant(call: Call<RunnerProcess>, params: SessionPath): Promise<Result<SessionIdentity>> {
  return await call
    .pool(params.pool_id)
    .sessionGrant(params.runner_id, call.caller.credentialHash, params.session_id, 'upload')
}

async function tellCut(
  call: Call<RunnerProcess>,
  { pool_id, runner_id, session_id }: SessionPath,
  identity: SessionIdentity,
): Promise<void> {
  const told = await call.pool(pool_id).noteLogCut(runner_id, call.caller.credentialHash, session_id)
  if (told.ok) await call.files(session_id).cutTold(identity)
}

/** The whole body, whose length must be said before it: nothing is buffered that is known to be too much. */
async function readExactly(request: Request, limit: number): Promise<Result<ArrayBuffer>> {
  const said = request.headers.get('content-length')
  if (said === null || !/^\d{1,15}$/.test(said)) return refused('length_required', 'Send Content-Length.')
  if (Number(said) > limit) return refused('payload_too_large', `At most ${limit} bytes at once.`)
  const bytes = await request.arrayBuffer()
  if (bytes.byteLength === Number(said)) return accepted(bytes)
  return refused('invalid_request', 'The body is not as long as Content-Length says.')
}

/** @returns null when the bytes are not those that were announced */
async function store(
  blobs: R2Bucket,
  {
    key,
    r2_upload_id,
    sha256,
    content_type,
  }: { key: string; r2_upload_id: string | null; sha256: string; content_type: string },
  part: number,
  bytes: ArrayBuffer,
): Promise<string | null> {
  if (r2_upload_id !== null)
    return (await blobs.resumeMultipartUpload(key, r2_upload_id).uploadPart(part, bytes)).etag
  if (hexOf(await crypto.subtle.digest('SHA-256', bytes)) !== sha256) return null
  return (await blobs.put(key, bytes, { sha256, httpMetadata: { contentType: content_type } })).etag
}
