import { ARTIFACT_PART_BYTES } from '../../../protocol/limits.ts'

/** An upload has as many parts of `ARTIFACT_PART_BYTES` as its size needs, the last one shorter; none when empty. */
export function partCount(size: number): number {
  return Math.ceil(size / ARTIFACT_PART_BYTES)
}

/** @param part from 1 @returns null for a part that the upload does not have */
export function partBytes(size: number, part: number): number | null {
  const count = partCount(size)
  if (part < 1 || part > count) return null
  return part < count ? ARTIFACT_PART_BYTES : size - (count - 1) * ARTIFACT_PART_BYTES
}

/** A digest as it is announced. */
export function hexOf(bytes: ArrayBuffer): string {
  return Array.from(new Uint8Array(bytes), byte => byte.toString(16).padStart(2, '0')).join('')
}

export function missingParts(size: number, received: readonly number[]): number[] {
  const have = new Set(received)
  return Array.from({ length: partCount(size) }, (_, index) => index + 1).filter(part => !have.has(part))
}

const TYPES: Readonly<Record<string, string>> = {
  avif: 'image/avif',
  css: 'text/css',
  csv: 'text/csv',
  gif: 'image/gif',
  gz: 'application/gzip',
  har: 'application/json',
  htm: 'text/html',
  html: 'text/html',
  jpeg: 'image/jpeg',
  jpg: 'image/jpeg',
  js: 'text/javascript',
  json: 'application/json',
  log: 'text/plain',
  md: 'text/markdown',
  mp4: 'video/mp4',
  pdf: 'application/pdf',
  png: 'image/png',
  svg: 'image/svg+xml',
  tar: 'application/x-tar',
  txt: 'text/plain',
  webm: 'video/webm',
  webp: 'image/webp',
  xml: 'application/xml',
  zip: 'application/zip',
}

/** By the name's ending alone: what is inside is whatever the job put there. */
export function contentTypeOf(name: string): string {
  const ending = /\.([A-Za-z0-9]+)$/.exec(name)?.[1]?.toLowerCase() ?? ''
  return TYPES[ending] ?? 'application/octet-stream'
}
