import { createHash, randomBytes } from 'node:crypto'
import type { Refusal } from '../../../protocol/errors.ts'
import { BeginUpload, LogChunkQuery } from '../../../protocol/session-files.ts'

/** A status with its body, or a refusal. */
type Answer = readonly [status: number, value: unknown] | Refusal

interface Upload {
  readonly id: string
  readonly session: string
  readonly asked: BeginUpload
  readonly parts: Map<number, Buffer>
  complete: boolean
}

const PART_SIZE_BYTES = 5 * 1024 * 1024

/** What runners bring of their sessions, held to the contract: logs by offset, artifacts in parts by size and hash. */
export class FakeSessionFiles {
  /** Beyond it nothing of a log is kept. */
  logCapBytes = Number.POSITIVE_INFINITY
  /** Every part that came, as `name part`, and the size of every chunk of a log that did. */
  readonly parts: string[] = []
  readonly chunks: number[] = []
  readonly #cuts: { session: string; cut: boolean }[] = []
  readonly #logs = new Map<string, { bytes: Buffer; complete: boolean }>()
  readonly #uploads: Upload[] = []

  log(session: string): string {
    return this.#logs.get(session)?.bytes.toString('utf8') ?? ''
  }

  isLogComplete(session: string): boolean {
    return this.#logs.get(session)?.complete ?? false
  }

  /** Whether the runner said that it keeps no more of the log, in each call that completed it. */
  cuts(session: string): boolean[] {
    return this.#cuts.filter(one => one.session === session).map(one => one.cut)
  }

  /** The complete ones, by name. */
  artifacts(session: string): Map<string, Buffer> {
    const done = this.#uploads.filter(upload => upload.session === session && upload.complete)
    return new Map(done.map(upload => [upload.asked.name, contentOf(upload)]))
  }

  /** `path` is what follows `/sessions/`, with its query. */
  answer(path: string, body: Buffer): Answer {
    const { pathname, searchParams } = new URL(path, 'http://fake/')
    const [session = '', kind, uploadId, step, part] = pathname.slice(1).split('/')
    if (kind === 'logs')
      return this.#append(session, LogChunkQuery.parse(Object.fromEntries(searchParams)), body)
    if (uploadId === undefined)
      return this.#begin(session, BeginUpload.parse(JSON.parse(body.toString('utf8'))))
    const upload = this.#uploads.find(each => each.session === session && each.id === uploadId)
    if (upload === undefined) return { code: 'not_found', detail: `no upload ${uploadId}` }
    if (step !== 'parts') return complete(upload)
    this.parts.push(`${upload.asked.name} ${part}`)
    return putPart(upload, Number(part), body)
  }

  #append(session: string, { offset, complete, cut }: LogChunkQuery, bytes: Buffer): Answer {
    this.chunks.push(bytes.length)
    const log = this.#logs.get(session) ?? { bytes: Buffer.alloc(0), complete: false }
    const isFull = log.bytes.length >= this.logCapBytes
    if (!isFull && (offset !== log.bytes.length || (log.complete && bytes.length > 0))) {
      const { length } = log.bytes
      return { code: 'offset_mismatch', detail: `the log ends at ${length}`, length }
    }
    if (complete === '1' && !log.complete) this.#cuts.push({ session, cut: cut === '1' })
    const kept = Buffer.concat([log.bytes, bytes]).subarray(0, this.logCapBytes)
    this.#logs.set(session, { bytes: kept, complete: log.complete || complete === '1' })
    return [200, { length: kept.length, truncated: kept.length < log.bytes.length + bytes.length || isFull }]
  }

  #begin(session: string, asked: BeginUpload): Answer {
    const known = this.#uploads.find(
      ({ session: of, asked: { name, sha256 } }) =>
        of === session && name === asked.name && sha256 === asked.sha256,
    )
    const upload = known ?? {
      id: randomBytes(16).toString('hex'),
      session,
      asked,
      parts: new Map(),
      complete: false,
    }
    if (known === undefined) this.#uploads.push(upload)
    const parts_received = [...upload.parts.keys()]
    return [201, { upload_id: upload.id, part_size_bytes: PART_SIZE_BYTES, parts_received }]
  }
}

function putPart(upload: Upload, part: number, bytes: Buffer): Answer {
  upload.parts.set(part, bytes)
  return [200, { parts_received: [...upload.parts.keys()] }]
}

function complete(upload: Upload): Answer {
  const { name, size, sha256 } = upload.asked
  const content = contentOf(upload)
  if (content.length !== size || createHash('sha256').update(content).digest('hex') !== sha256) {
    return { code: 'conflict', detail: `${name} is not what was announced` }
  }
  upload.complete = true
  return [200, { name, size, sha256, content_type: 'application/octet-stream' }]
}

function contentOf({ parts }: Upload): Buffer {
  return Buffer.concat([...parts].sort(([one], [other]) => one - other).map(([, bytes]) => bytes))
}
