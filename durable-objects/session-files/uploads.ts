import { accepted, type Result, refused } from '../../protocol/errors.ts'
import {
  ARTIFACT_COUNT_LIMIT,
  ARTIFACT_PART_BYTES,
  ARTIFACTS_TOTAL_LIMIT_BYTES,
} from '../../protocol/limits.ts'
import type { Artifact, BeginUpload, UploadBegun } from '../../protocol/session-files.ts'
import { contentTypeOf, hexOf, missingParts, partBytes, partCount } from './core/uploads.ts'
import type { PartPlace } from './rpc.ts'
import type { FilesStore, UploadRecord } from './store.ts'

/**
 * Artifacts of one session. An object in storage is named by its upload, never by what the job called the file; it is
 * shown once it was found to be what was announced. Every step can be repeated.
 */
export class Uploads {
  readonly #store: FilesStore
  readonly #blobs: R2Bucket
  readonly #prefix: string

  /** @param prefix of the objects' names */
  constructor(store: FilesStore, blobs: R2Bucket, prefix: string) {
    this.#store = store
    this.#blobs = blobs
    this.#prefix = prefix
  }

  async begin(wanted: BeginUpload): Promise<Result<UploadBegun>> {
    const known = this.#same(wanted)
    if (known !== undefined) return accepted(this.#begun(known))
    const full = this.#full(wanted)
    if (full !== null) return full
    const id = crypto.randomUUID().replaceAll('-', '')
    const upload = { id, ...wanted, r2UploadId: await this.#open(id, wanted), state: 'open' as const }
    // Meanwhile the same file may have been announced, by a call whose reply was lost, or others in its place.
    const raced = this.#same(wanted)
    const late = raced === undefined ? this.#full(wanted) : null
    if (raced === undefined && late === null) this.#store.addUpload(upload)
    else if (upload.r2UploadId !== null) await this.#multipart(upload).abort()
    return late ?? accepted(this.#begun(raced ?? upload))
  }

  place(uploadId: string, part: number): Result<PartPlace> {
    const upload = this.#store.upload(uploadId)
    const bytes = upload === null ? null : partBytes(upload.size, part)
    if (upload === null || upload.state === 'replaced' || bytes === null) {
      return refused('not_found', 'no such part')
    }
    return accepted({
      key: this.#key(uploadId),
      r2_upload_id: upload.r2UploadId,
      bytes,
      sha256: upload.sha256,
      content_type: contentTypeOf(upload.name),
    })
  }

  stored(uploadId: string, part: number, etag: string): Result<{ parts_received: number[] }> {
    const upload = this.#store.upload(uploadId)
    if (upload === null) return refused('not_found', 'no such upload')
    if (upload.state === 'open') this.#store.addPart(uploadId, part, etag)
    return accepted({ parts_received: this.#received(upload) })
  }

  async complete(uploadId: string): Promise<Result<Artifact>> {
    const upload = this.#store.upload(uploadId)
    if (upload === null || upload.state === 'replaced') return refused('not_found', 'no such upload')
    if (upload.state === 'complete') return accepted(artifactOf(upload))
    const missing = missingParts(upload.size, this.#received(upload))
    if (missing.length > 0)
      return refused('conflict', `parts are missing: ${missing.slice(0, 20).join(', ')}`)
    const isWhole = await this.#join(upload)
    if (!isWhole) {
      await this.#blobs.delete(this.#key(uploadId))
      this.#store.deleteUpload(uploadId)
      return refused('conflict', 'what was uploaded is not what was announced: its size or SHA-256 differs')
    }
    // Without a wait in between: a crash leaves either or both.
    this.#replaceEarlier(upload)
    this.#store.setState(uploadId, 'complete')
    return accepted(artifactOf(upload))
  }

  list(): Artifact[] {
    return this.#store.uploads('complete').map(artifactOf)
  }

  find(name: string): { artifact: Artifact; key: string } | null {
    const upload = this.#store.uploadsOf(name).find(one => one.state === 'complete')
    return upload === undefined ? null : { artifact: artifactOf(upload), key: this.#key(upload.id) }
  }

  /** Parts of what was never completed are in no listing of the bucket. One that is gone already is no trouble. */
  async abandon(): Promise<void> {
    for (const upload of this.#store.uploads('open')) {
      if (upload.r2UploadId !== null)
        await this.#multipart(upload)
          .abort()
          .catch(() => undefined)
    }
  }

  get hasReplaced(): boolean {
    return this.#store.uploads('replaced').length > 0
  }

  /** A row goes after its object, so what a crash leaves is found again, and counted until then. */
  async removeReplaced(): Promise<void> {
    for (const { id } of this.#store.uploads('replaced')) {
      await this.#blobs.delete(this.#key(id))
      this.#store.deleteUpload(id)
    }
  }

  /** @returns whether what is in storage now is what was announced */
  async #join(upload: UploadRecord): Promise<boolean> {
    const key = this.#key(upload.id)
    if (upload.size === 0)
      return (await this.#blobs.put(key, new Uint8Array(), { sha256: upload.sha256 })) !== null
    // One part was checked when it was stored.
    if (upload.r2UploadId === null) return true
    const parts = this.#store.parts(upload.id).map(({ part, etag }) => ({ partNumber: part, etag }))
    try {
      await this.#multipart(upload).complete(parts)
    } catch (error) {
      // Joined before, by a call that did not live to say so.
      if ((await this.#blobs.head(key)) === null) throw error
    }
    const object = await this.#blobs.get(key)
    if (object === null || object.size !== upload.size) return false
    const digest = new crypto.DigestStream('SHA-256')
    await object.body.pipeTo(digest)
    return hexOf(await digest.digest) === upload.sha256
  }

  #same({ name, size, sha256 }: BeginUpload): UploadRecord | undefined {
    const isSame = (one: UploadRecord) =>
      one.state !== 'replaced' && one.size === size && one.sha256 === sha256
    return this.#store.uploadsOf(name).find(isSame)
  }

  #full({ size }: BeginUpload): { ok: false; error: { code: 'payload_too_large'; detail: string } } | null {
    const { count, bytes } = this.#store.totals()
    const detail =
      count >= ARTIFACT_COUNT_LIMIT
        ? `a session may leave ${ARTIFACT_COUNT_LIMIT} artifacts`
        : bytes + size > ARTIFACTS_TOTAL_LIMIT_BYTES
          ? `a session may leave ${ARTIFACTS_TOTAL_LIMIT_BYTES} bytes of artifacts in all`
          : null
    return detail === null ? null : { ok: false, error: { code: 'payload_too_large', detail } }
  }

  async #open(id: string, { name, size }: BeginUpload): Promise<string | null> {
    if (partCount(size) < 2) return null
    const httpMetadata = { contentType: contentTypeOf(name) }
    return (await this.#blobs.createMultipartUpload(this.#key(id), { httpMetadata })).uploadId
  }

  /** Of two files by one name the later one counts. */
  #replaceEarlier(upload: UploadRecord): void {
    for (const other of this.#store.uploadsOf(upload.name)) {
      if (other.id !== upload.id && other.state === 'complete') this.#store.setState(other.id, 'replaced')
    }
  }

  #begun(upload: UploadRecord): UploadBegun {
    return {
      upload_id: upload.id,
      part_size_bytes: ARTIFACT_PART_BYTES,
      parts_received:
        upload.state === 'complete'
          ? Array.from({ length: partCount(upload.size) }, (_, index) => index + 1)
          : this.#received(upload),
    }
  }

  #received(upload: UploadRecord): number[] {
    return this.#store.parts(upload.id).map(({ part }) => part)
  }

  #multipart(upload: UploadRecord): R2MultipartUpload {
    return this.#blobs.resumeMultipartUpload(this.#key(upload.id), upload.r2UploadId ?? '')
  }

  #key(uploadId: string): string {
    return `${this.#prefix}${uploadId}`
  }
}

function artifactOf({ name, size, sha256 }: UploadRecord): Artifact {
  return { name, size, sha256, content_type: contentTypeOf(name) }
}
