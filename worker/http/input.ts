import type { z } from 'zod'
import { accepted, type FieldError, type Refusal, type Result, refused } from '../../protocol/errors.ts'
import { parseJson } from '../../protocol/json.ts'
import { BODY_LIMIT_BYTES } from '../../protocol/limits.ts'

/** A body of 256 KiB can be wrong in thousands of places; the first few say what to do. */
const ERROR_LIMIT_ITEMS = 20
const ERROR_LIMIT_CHARS = 200

/**
 * Checks a value from outside against its schema.
 * @param prefix put before every path in `errors`, for what is not the body (`limit`, `idempotency-key`)
 */
export function parseWith<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  prefix: readonly string[] = [],
): Result<z.output<Schema>> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return accepted(parsed.data)
  const errors = parsed.error.issues
    .slice(0, ERROR_LIMIT_ITEMS)
    .map(issue => fieldError([...prefix, ...issue.path.map(String)].join('.'), issue.message))
  return { ok: false, error: invalid(errors) }
}

export function invalidField(path: string, message: string): { ok: false; error: Refusal } {
  return { ok: false, error: invalid([fieldError(path, message)]) }
}

function invalid(errors: FieldError[]): Refusal {
  return { code: 'invalid_request', detail: 'Some fields are not valid; see errors.', errors }
}

function fieldError(path: string, message: string): FieldError {
  return { path: shown(path), message: shown(message) }
}

/** Paths and messages can hold keys the caller chose: cut them, and cut no surrogate pair in half. */
function shown(text: string): string {
  return text.slice(0, ERROR_LIMIT_CHARS).toWellFormed()
}

/** The query as an object; a repeated name becomes an array, which no schema of this API accepts. */
export function queryOf(url: URL): Record<string, string | string[]> {
  const query: Record<string, string | string[]> = {}
  for (const name of new Set(url.searchParams.keys())) {
    const [first = '', ...more] = url.searchParams.getAll(name)
    query[name] = more.length === 0 ? first : [first, ...more]
  }
  return query
}

/**
 * The JSON body, not yet checked against a schema. A body that was left out reads as `{}`, so that a schema
 * without required fields accepts it and any other names what is missing.
 */
export async function readJsonBody(request: Request): Promise<Result<unknown>> {
  const bytes = await readLimited(request)
  if (!bytes.ok) return bytes
  if (bytes.value.length === 0) return accepted({})
  if (!isJson(request.headers.get('content-type'))) {
    return refused('unsupported_media_type', 'Send the body as application/json.')
  }
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(bytes.value)
  } catch {
    return refused('invalid_request', 'The body is not valid UTF-8.')
  }
  const parsed = parseJson(text)
  return parsed.ok ? accepted(parsed.value) : refused('invalid_request', `Not usable: ${parsed.message}.`)
}

function isJson(contentType: string | null): boolean {
  const essence = contentType?.split(';')[0]?.trim().toLowerCase()
  return essence === 'application/json'
}

/** Counts what arrives rather than trusting Content-Length, which a chunked body does not have. */
async function readLimited(request: Request): Promise<Result<Uint8Array>> {
  const tooLarge = refused('payload_too_large', `The body is larger than ${BODY_LIMIT_BYTES} bytes.`)
  if (Number(request.headers.get('content-length') ?? 0) > BODY_LIMIT_BYTES) return tooLarge
  if (request.body === null) return accepted(new Uint8Array())
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of request.body) {
    length += chunk.byteLength
    if (length > BODY_LIMIT_BYTES) return tooLarge
    chunks.push(chunk)
  }
  const [only] = chunks
  return accepted(chunks.length === 1 && only !== undefined ? only : joined(chunks, length))
}

function joined(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length)
  let offset = 0
  for (const chunk of chunks) {
    whole.set(chunk, offset)
    offset += chunk.byteLength
  }
  return whole
}
