import * as z from 'zod'
import { ARTIFACT_COUNT_LIMIT, ARTIFACT_LIMIT_BYTES, ARTIFACT_NAME_LIMIT_BYTES } from './limits.ts'

/** What a session leaves: its log, appended by offset, and the artifacts, uploaded in parts. */

export const LogAppended = z.object({
  /** Bytes kept so far; the next chunk's offset. */
  length: z.number().int().min(0),
  /** True once the size cap is reached: nothing further is kept, and the log says so itself. */
  truncated: z.boolean(),
})
export type LogAppended = z.infer<typeof LogAppended>

/**
 * Query of a chunk. `complete` says that nothing follows it; such a chunk may be empty. `cut` says that the runner
 * itself has reached its cap, and keeps no more of the output.
 */
export const LogChunkQuery = z.object({
  offset: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER),
  complete: z.enum(['0', '1']).default('0'),
  cut: z.enum(['0', '1']).default('0'),
})
export type LogChunkQuery = z.infer<typeof LogChunkQuery>

const encoder = new TextEncoder()

/** Why a path cannot be an artifact's name, or null. Names are relative, with `/` between parts. */
export function artifactNameProblem(name: string): string | null {
  if (name === '') return 'must not be empty'
  if (!name.isWellFormed()) return 'is not well-formed Unicode'
  if (encoder.encode(name).length > ARTIFACT_NAME_LIMIT_BYTES)
    return `longer than ${ARTIFACT_NAME_LIMIT_BYTES} bytes`
  // biome-ignore lint/suspicious/noControlCharactersInRegex: refusing control characters is the point
  if (/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(name)) return 'must not hold control characters'
  if (name.includes('\\')) return 'must not hold a backslash'
  const parts = name.split('/')
  if (parts.some(part => part === '')) return 'must be relative, without empty parts'
  if (parts.some(part => part === '.' || part === '..')) return 'must not hold "." or ".." as a part'
  return null
}

export const ArtifactName = z.string().superRefine((name, context) => {
  const problem = artifactNameProblem(name)
  if (problem !== null) context.addIssue({ code: 'custom', message: problem })
})

export const BeginUpload = z.object({
  name: ArtifactName,
  size: z.number().int().min(0).max(ARTIFACT_LIMIT_BYTES),
  sha256: z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 lower-case hex digits'),
})
export type BeginUpload = z.infer<typeof BeginUpload>
export const UploadId = z.string().regex(/^[0-9a-f]{32}$/, 'expected an upload id')
/** A repeat for the same name, size and hash gives the same upload, with the parts it already has. */
export const UploadBegun = z.object({
  upload_id: UploadId,
  part_size_bytes: z.number().int().positive(),
  /** Numbered from 1. An upload that is complete already lists them all. */
  parts_received: z.array(z.number().int().positive()),
})
export type UploadBegun = z.infer<typeof UploadBegun>

export const Artifact = z.object({
  name: ArtifactName,
  size: z.number().int().min(0),
  sha256: z.string(),
  content_type: z.string(),
})
export type Artifact = z.infer<typeof Artifact>
/** All of a session's, by name: their number is limited. */
export const Artifacts = z.object({
  items: z.array(Artifact).max(ARTIFACT_COUNT_LIMIT),
  next_cursor: z.null(),
})
