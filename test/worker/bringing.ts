import { evictDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { expect } from 'vitest'
import { call, fetchRaw } from './client.ts'
import type { LiveRun } from './stream-sockets.ts'
import { ok, runnerPath } from './world.ts'

/** What a runner does to bring what a session leaves, and what a reader does to see it. */

export const MIB = 1024 * 1024
const encoder = new TextEncoder()

export function chunk(live: LiveRun, offset: number, bytes: Uint8Array | string, more = '') {
  const body = typeof bytes === 'string' ? encoder.encode(bytes) : bytes
  return call(
    'POST',
    `${runnerPath(live.runner, `sessions/${live.sessionId}/logs`)}?offset=${offset}${more}`,
    {
      key: live.runner.credential,
      rawBody: body,
      headers: { 'content-length': String(body.length) },
    },
  )
}

export function read(
  live: LiveRun,
  headers: Record<string, string> = {},
  path = 'logs',
  key = live.tenant.keys.viewer,
) {
  return fetchRaw('GET', `/api/v1/runs/${live.runId}/${path}`, { key, headers })
}

export const evict = (live: LiveRun) => evictDurableObject(env.SESSION_FILES.getByName(live.sessionId))

/** Bytes that tell every place from every other. */
export function pattern(size: number, start = 0): Uint8Array {
  return Uint8Array.from({ length: size }, (_, index) => ((start + index) * 2654435761) >>> 24)
}

export interface Heard {
  readonly event: string
  readonly id: string
  // biome-ignore lint/suspicious/noExplicitAny: a test states its expectations of the data itself
  readonly data: any
}
export async function* follow(
  live: LiveRun,
  headers: Record<string, string> = {},
  more = '',
  key = live.tenant.keys.viewer,
): AsyncGenerator<Heard> {
  const response = await read(live, headers, `logs?follow=1${more}`, key)
  expect(response.headers.get('content-type')).toContain('text/event-stream')
  let rest = ''
  const decoder = new TextDecoder()
  for await (const piece of response.body ?? []) {
    rest += decoder.decode(piece as Uint8Array, { stream: true })
    const blocks = rest.split('\n\n')
    rest = blocks.pop() ?? ''
    for (const block of blocks) {
      const fields = Object.fromEntries(
        block.split('\n').map(line => [line.split(': ')[0], line.slice(line.indexOf(': ') + 2)]),
      )
      if (fields.event !== undefined)
        yield { event: fields.event, id: fields.id ?? '', data: JSON.parse(fields.data ?? '') }
    }
  }
}
export async function next(heard: AsyncGenerator<Heard>, event: string): Promise<Heard> {
  for (;;) {
    const { done, value } = await heard.next()
    if (done) throw new Error(`the stream ended before ${event}`)
    if (value.event === event) return value
  }
}

export async function sha256(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', bytes)
  return Array.from(new Uint8Array(digest), byte => byte.toString(16).padStart(2, '0')).join('')
}
const at = (live: LiveRun, path: string) =>
  runnerPath(live.runner, `sessions/${live.sessionId}/artifacts${path}`)
const key = (live: LiveRun) => live.runner.credential
export const begin = async (live: LiveRun, name: string, bytes: Uint8Array) =>
  await call('POST', at(live, ''), {
    key: key(live),
    body: { name, size: bytes.length, sha256: await sha256(bytes) },
  })
export const part = (live: LiveRun, upload: string, n: number, bytes: Uint8Array) =>
  call('PUT', at(live, `/${upload}/parts/${n}`), {
    key: key(live),
    rawBody: bytes,
    headers: { 'content-length': String(bytes.length) },
  })
export const complete = (live: LiveRun, upload: string) =>
  call('POST', at(live, `/${upload}/complete`), { key: key(live) })

export async function upload(live: LiveRun, name: string, bytes: Uint8Array) {
  const { upload_id, part_size_bytes } = ok(await begin(live, name, bytes)).body
  for (let n = 1; (n - 1) * part_size_bytes < bytes.length; n++) {
    ok(await part(live, upload_id, n, bytes.slice((n - 1) * part_size_bytes, n * part_size_bytes)))
  }
  ok(await complete(live, upload_id))
}
