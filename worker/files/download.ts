import { rangeOf } from './byte-range.ts'

/** Nothing that a job wrote may act for the dashboard: its type is not guessed, and what could run is sandboxed. */
const SAFE_HEADERS = {
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'private, no-store',
  'accept-ranges': 'bytes',
} as const

/** Pictures, films and text are shown; everything else is saved. */
const SHOWN = /^(?:image\/(?:png|jpeg|webp|gif)|video\/(?:mp4|webm)|text\/plain(?:;.*)?)$/

const SANDBOX = "default-src 'none'; sandbox"
/** The page that a browser makes around a film fetches it once more, which nobody in a sandbox may. */
const FILM = "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'"

export interface Download {
  readonly length: number
  readonly contentType: string
  /** Its last part becomes the name of the saved file. */
  readonly name: string
  readonly etag?: string
  /** @param end behind the last byte */
  read(start: number, end: number): Promise<ReadableStream<Uint8Array> | null>
}

/**
 * @returns the bytes, or the part of them that the request's `Range` asks for, or only what would be said of them; null
 * when they are gone
 */
export async function downloadResponse(request: Request, download: Download): Promise<Response | null> {
  const { length, etag } = download
  const headers = new Headers({
    ...SAFE_HEADERS,
    'content-security-policy': isFilm(download) ? FILM : SANDBOX,
    'content-type': typeOf(download),
    'content-disposition': dispositionOf(download),
    ...(etag === undefined ? {} : { etag: `"${etag}"` }),
  })
  if (isKnown(request, etag)) return new Response(null, { status: 304, headers })
  const range = isStale(request, etag)
    ? ({ kind: 'whole' } as const)
    : rangeOf(request.headers.get('range'), length)
  if (range.kind === 'unsatisfiable') {
    headers.set('content-range', `bytes */${length}`)
    return new Response(null, { status: 416, headers })
  }
  const { start, end } = range.kind === 'part' ? range : { start: 0, end: length }
  const status = range.kind === 'part' ? 206 : 200
  if (range.kind === 'part') headers.set('content-range', `bytes ${start}-${end - 1}/${length}`)
  if (request.method === 'HEAD') {
    headers.set('content-length', String(end - start))
    return new Response(null, { status, headers })
  }
  const body = end === start ? null : await download.read(start, end)
  if (body === null && end > start) return null
  // Tells the runtime the length, so that the answer has one and a body that ends early is noticed.
  const fixed = body === null ? null : body.pipeThrough(new FixedLengthStream(end - start))
  return new Response(fixed, { status, headers })
}

/** The caller has these very bytes (RFC 9110, 13.1.2). */
function isKnown(request: Request, etag: string | undefined): boolean {
  const known = request.headers.get('if-none-match')
  if (known === null || etag === undefined) return false
  return known.trim() === '*' || known.split(',').some(one => one.trim().replace(/^W\//, '') === `"${etag}"`)
}

/** A part of something else than the caller has the rest of would be worse than all of it (RFC 9110, 13.1.5). */
function isStale(request: Request, etag: string | undefined): boolean {
  const wanted = request.headers.get('if-range')
  return wanted !== null && wanted !== `"${etag}"`
}

/** Without saying so, a browser takes text to be in whatever is usual where it is. */
function typeOf({ contentType }: Download): string {
  return /^text\/[^;]*$/.test(contentType) ? `${contentType}; charset=utf-8` : contentType
}

function isFilm({ contentType }: Download): boolean {
  return SHOWN.test(contentType) && contentType.startsWith('video/')
}

function dispositionOf({ contentType, name }: Download): string {
  const last = name.split('/').at(-1) ?? 'file'
  const ascii = last.replaceAll(/[^\x20-\x7e]|["\\%]/g, '_')
  const encoded = encodeURIComponent(last).replaceAll(/['()*]/g, one => `%${one.charCodeAt(0).toString(16)}`)
  return `${SHOWN.test(contentType) ? 'inline' : 'attachment'}; filename="${ascii}"; filename*=UTF-8''${encoded}`
}
