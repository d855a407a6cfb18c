import { env } from 'cloudflare:workers'
import { describe, expect, test, vi } from 'vitest'
import { ARTIFACT_PART_BYTES } from '../../protocol/limits.ts'
import {
  begin,
  chunk,
  complete,
  evict,
  follow,
  MIB,
  next,
  part,
  pattern,
  read,
  sha256,
  upload,
} from './bringing.ts'
import { type Ask, call, fetchRaw } from './client.ts'
import { endSession, liveRun } from './stream-sockets.ts'
import { makeTenant, ok, runnerPath } from './world.ts'

const encoder = new TextEncoder()

describe('a log', () => {
  test('is kept in order, once, whatever is repeated or lost, and however often the object forgets', async () => {
    const live = await liveRun()
    ok(await chunk(live, 0, 'one\n'))
    await evict(live)
    const repeated = await chunk(live, 0, 'one\n')
    expect([repeated.status, repeated.body.code, repeated.body.length]).toEqual([409, 'offset_mismatch', 4])
    const ahead = await chunk(live, 9, 'three\n')
    expect([ahead.body.code, ahead.body.length]).toEqual(['offset_mismatch', 4])
    await evict(live)
    expect(ok(await chunk(live, 4, 'two\n')).body).toEqual({ length: 8, truncated: false })
    const log = await read(live)
    expect(await log.text()).toBe('one\ntwo\n')
    expect(log.headers.get('content-type')).toBe('text/plain; charset=utf-8')
    expect(log.headers.get('x-content-type-options')).toBe('nosniff')
  })

  test('moves to object storage in whole segments and is read from both as one', async () => {
    const live = await liveRun()
    const size = 10
    for (let at = 0; at < size; at++) ok(await chunk(live, at * MIB, pattern(MIB, at * MIB)))
    // Behind the answers: what was acknowledged is safe in the object until then.
    await vi.waitFor(async () => {
      const stored = await env.BLOBS.list({ prefix: `ten/${live.tenant.id}/ses/${live.sessionId}/log/` })
      const segments = stored.objects.map(({ key, size: bytes }) => [key.split('/').at(-1), bytes])
      expect(segments).toEqual([['000000000000', 8 * MIB]])
    })
    const whole = new Uint8Array(await (await read(live)).arrayBuffer())
    expect(whole.length).toBe(size * MIB)
    for (const at of [0, 5 * MIB - 1, 8 * MIB - 1, 8 * MIB, 10 * MIB - 1])
      expect(whole[at]).toBe(pattern(1, at)[0])
    const across = await read(live, { range: `bytes=${8 * MIB - 3}-${8 * MIB + 2}` })
    expect([across.status, across.headers.get('content-range')]).toEqual([
      206,
      `bytes ${8 * MIB - 3}-${8 * MIB + 2}/${size * MIB}`,
    ])
    expect(new Uint8Array(await across.arrayBuffer())).toEqual(pattern(6, 8 * MIB - 3))
    await endSession(live)
    ok(await chunk(live, size * MIB, 'end\n', '&complete=1'))
    ok(await chunk(live, size * MIB + 4, '', '&complete=1'))
    await evict(live)
    expect((await (await read(live)).arrayBuffer()).byteLength).toBe(size * MIB + 4)
  })

  test.each([
    ['bytes=0-3', 206, 'abcd'],
    ['bytes=5-', 206, 'fghij'],
    ['bytes=-4', 206, 'ghij'],
    ['bytes=8-99', 206, 'ij'],
    ['bytes=10-', 416, ''],
    ['bytes=-0', 416, ''],
    ['bytes=3-1', 200, 'abcdefghij'],
    ['bytes=0-1,4-5', 200, 'abcdefghij'],
    ['lines=0-1', 200, 'abcdefghij'],
  ])('answers Range: %s with %i', async (range, status, text) => {
    const live = await liveRun()
    ok(await chunk(live, 0, 'abcdefghij'))
    const answer = await read(live, { range })
    expect([answer.status, await answer.text()]).toEqual([status, text])
  })

  test('is taken from its runner only, while the session lives and for a while after', async () => {
    const [live, other] = await Promise.all([liveRun(), liveRun()])
    const foreign = await chunk({ ...live, runner: other.runner }, 0, 'x')
    expect([foreign.status, foreign.body.code]).toEqual([409, 'session_ended'])
    await endSession(live)
    ok(await chunk(live, 0, 'after the end\n', '&complete=1'))
    const more = await chunk(live, 14, 'even more\n')
    expect(more.body.code).toBe('offset_mismatch')
  })

  test('needs a length, and no chunk is larger than 1 MiB', async () => {
    const live = await liveRun()
    const path = `${runnerPath(live.runner, `sessions/${live.sessionId}/logs`)}?offset=0`
    const ask: Ask = { key: live.runner.credential, rawBody: new ReadableStream({ start: c => c.close() }) }
    expect((await call('POST', path, ask)).body.code).toBe('length_required')
    expect((await chunk(live, 0, new Uint8Array(MIB + 1))).body.code).toBe('payload_too_large')
  })

  test('is nobody else’s', async () => {
    const live = await liveRun()
    ok(await chunk(live, 0, 'secret\n'))
    const stranger = await makeTenant()
    for (const path of ['logs', 'artifacts', 'artifacts/a.txt']) {
      const refused = await call('GET', `/api/v1/runs/${live.runId}/${path}`, { key: stranger.keys.admin })
      expect(refused.body.code).toBe('not_found')
    }
    const mine = await liveRun()
    const across = await fetchRaw('GET', `/api/v1/runs/${mine.runId}/logs?session_id=${live.sessionId}`, {
      key: mine.tenant.keys.viewer,
    })
    expect(await across.text()).toBe('')
  })
})

describe('following a log', () => {
  test('gives whole lines as they come, and the end', async () => {
    const live = await liveRun()
    const heard = follow(live)
    await next(heard, 'session')
    ok(await chunk(live, 0, 'first\nsec'))
    expect((await next(heard, 'log')).data).toEqual({ offset: 0, text: 'first\n' })
    ok(await chunk(live, 9, 'ond\n'))
    expect(await textUntil(heard, '\n')).toEqual({ offset: 6, text: 'second\n' })
    await endSession(live)
    ok(await chunk(live, 13, 'no newline', '&complete=1'))
    expect((await next(heard, 'log')).data).toEqual({ offset: 13, text: 'no newline' })
    expect((await next(heard, 'end')).data).toEqual({ status: 'succeeded' })
  })

  test('goes on where Last-Event-ID was, and cuts no character', async () => {
    const live = await liveRun()
    const long = '🚀'.repeat(20_000)
    ok(await chunk(live, 0, `a\n${long}\nb\n`))
    await endSession(live)
    ok(await chunk(live, 2 + 80_000 + 3, '', '&complete=1'))
    const all = []
    for await (const one of follow(live)) if (one.event === 'log') all.push(one)
    expect(all.map(one => one.data.text).join('')).toBe(`a\n${long}\nb\n`)
    expect(all.length).toBeGreaterThan(1)
    const again = []
    for await (const one of follow(live, { 'last-event-id': all[0]?.id ?? '' }))
      if (one.event === 'log') again.push(one)
    expect(again.map(one => one.data)).toEqual(all.slice(1).map(one => one.data))
  })
})

describe('a line without an end', () => {
  test('is shown once it rests, by as many pieces as there is text, and by no more however long it rests', async () => {
    const live = await liveRun()
    ok(await chunk(live, 0, 'whole\nWaiting for it'))
    const response = await read(live, {}, 'logs?follow=1')
    const said: string[] = []
    const reader = response.body?.getReader()
    const listening = (async () => {
      for (let piece = await reader?.read(); piece && !piece.done; piece = await reader?.read())
        said.push(new TextDecoder().decode(piece.value))
    })()
    await vi.waitUntil(() => said.some(piece => piece.includes('Waiting')), 30_000)
    // Only for what must not come.
    await new Promise(resolve => setTimeout(resolve, 3_000))
    await endSession(live)
    ok(await chunk(live, 20, '', '&complete=1'))
    await listening
    const events = said.map(piece => /^event: (.*)$/m.exec(piece)?.[1] ?? piece)
    expect(events).toEqual(['session', 'log', 'log', 'end'])
  })

  test('goes on where it was left, for who stayed and for who comes back, without a character cut', async () => {
    const live = await liveRun()
    const rocket = encoder.encode('🚀')
    ok(await chunk(live, 0, new Uint8Array([...encoder.encode('Name? '), ...rocket.slice(0, 3)])))
    const stayed = follow(live)
    const prompt = await next(stayed, 'log')
    expect([prompt.data, prompt.id]).toEqual([{ offset: 0, text: 'Name? ' }, `${live.sessionId}.6`])
    ok(await chunk(live, 9, new Uint8Array([...rocket.slice(3), ...encoder.encode('man\n')])))
    const back = follow(live, { 'last-event-id': prompt.id })
    for (const heard of [stayed, back])
      expect(await textUntil(heard, '\n')).toEqual({ offset: 6, text: '🚀man\n' })
  })
})

/** What comes until a text with that end; a line may come in several. */
async function textUntil(heard: ReturnType<typeof follow>, end: string) {
  const first = (await next(heard, 'log')).data
  let { text } = first
  while (!text.endsWith(end)) {
    const { data } = await next(heard, 'log')
    expect(data.offset).toBe(first.offset + encoder.encode(text).length)
    text += data.text
  }
  return { offset: first.offset, text }
}

describe('an artifact', () => {
  test.each([
    ['empty', 0],
    ['small', 1000],
    ['of one whole part', ARTIFACT_PART_BYTES],
    ['of several parts', 2 * ARTIFACT_PART_BYTES + 5],
  ])('%s comes out as it went in, each step repeated and the object evicted between', async (_what, size) => {
    const live = await liveRun()
    await endSession(live)
    const bytes = pattern(size)
    const { upload_id } = ok(await begin(live, 'a/video.webm', bytes)).body
    await evict(live)
    expect(ok(await begin(live, 'a/video.webm', bytes)).body.upload_id).toBe(upload_id)
    for (let n = 1; (n - 1) * ARTIFACT_PART_BYTES < size; n++) {
      const piece = bytes.slice((n - 1) * ARTIFACT_PART_BYTES, n * ARTIFACT_PART_BYTES)
      if (n === 1) ok(await part(live, upload_id, n, piece))
      const { parts_received } = ok(await part(live, upload_id, n, piece)).body
      expect(parts_received.at(-1)).toBe(n)
      await evict(live)
    }
    const shown = { name: 'a/video.webm', size, sha256: await sha256(bytes), content_type: 'video/webm' }
    expect(ok(await complete(live, upload_id)).body).toEqual(shown)
    await evict(live)
    expect(ok(await complete(live, upload_id)).body).toEqual(shown)
    const listed = ok(
      await call('GET', `/api/v1/runs/${live.runId}/artifacts`, { key: live.tenant.keys.viewer }),
    )
    expect(listed.body).toEqual({ items: [shown], next_cursor: null })
    const read = await fetchRaw('GET', `/api/v1/runs/${live.runId}/artifacts/a/video.webm`, {
      key: live.tenant.keys.viewer,
    })
    expect(read.headers.get('content-disposition')).toContain('inline')
    expect(await sha256(new Uint8Array(await read.arrayBuffer()))).toBe(shown.sha256)
  })

  test('is not shown before it is complete, nor when it is not what was announced', async () => {
    const live = await liveRun()
    const bytes = pattern(ARTIFACT_PART_BYTES + 10)
    const { upload_id } = ok(await begin(live, 'x.bin', bytes)).body
    ok(await part(live, upload_id, 1, bytes.slice(0, ARTIFACT_PART_BYTES)))
    expect((await complete(live, upload_id)).body.code).toBe('conflict')
    ok(await part(live, upload_id, 2, new Uint8Array(10)))
    expect((await complete(live, upload_id)).body.code).toBe('conflict')
    expect((await part(live, upload_id, 1, bytes.slice(0, 5))).status).toBeGreaterThanOrEqual(400)
    const small = ok(await begin(live, 'y.bin', pattern(10))).body.upload_id
    expect((await part(live, small, 1, new Uint8Array(10))).body.code).toBe('conflict')
    const listed = ok(
      await call('GET', `/api/v1/runs/${live.runId}/artifacts`, { key: live.tenant.keys.viewer }),
    )
    expect(listed.body.items).toEqual([])
  })

  test.each([
    '../up',
    'a/../b',
    '/abs',
    'a//b',
    './a',
    'a/.',
    'new\nline',
    'nul\0',
    'back\\slash',
    '',
    'x'.repeat(513),
  ])('cannot be named %j', async name => {
    const live = await liveRun()
    const refused = await begin(live, name, pattern(1))
    expect([refused.status, refused.body.errors[0].path]).toEqual([400, 'name'])
  })

  test.each(['plain.txt', 'dir/sub/файл ü.txt', 'we?ird#name&.txt', '100%25.txt', 'quo"te\'.txt', '🚀.png'])(
    'named %j is found by that name',
    async name => {
      const live = await liveRun()
      await upload(live, name, encoder.encode('content'))
      const path = name.split('/').map(encodeURIComponent).join('/')
      const read = await fetchRaw('GET', `/api/v1/runs/${live.runId}/artifacts/${path}`, {
        key: live.tenant.keys.viewer,
      })
      expect([read.status, await read.text()]).toEqual([200, 'content'])
    },
  )

  test.each([
    ['out.txt', 'text/plain; charset=utf-8'],
    ['run.log', 'text/plain; charset=utf-8'],
    ['shot.png', 'image/png'],
  ])('%s is sent as %s', async (name, type) => {
    const live = await liveRun()
    await upload(live, name, encoder.encode('größer 🚀'))
    const answer = await read(live, {}, `artifacts/${name}`)
    expect(answer.headers.get('content-type')).toBe(type)
    expect(new TextDecoder().decode(await answer.arrayBuffer())).toBe('größer 🚀')
  })

  test.each([
    ['page.html', 'attachment'],
    ['image.svg', 'attachment'],
    ['script.js', 'attachment'],
    ['trace.zip', 'attachment'],
    ['no-ending', 'attachment'],
    ['shot.png', 'inline'],
    ['out.txt', 'inline'],
    ['film.mp4', 'inline', "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'"],
  ])('%s is sent as %s, able to run nothing', async (name, how, policy = "default-src 'none'; sandbox") => {
    const live = await liveRun()
    await upload(live, name, encoder.encode('<script>alert(1)</script>'))
    const answer = await fetchRaw('GET', `/api/v1/runs/${live.runId}/artifacts/${name}`, {
      key: live.tenant.keys.viewer,
    })
    await answer.arrayBuffer()
    expect(answer.headers.get('content-disposition')?.startsWith(how)).toBe(true)
    expect(answer.headers.get('x-content-type-options')).toBe('nosniff')
    expect(answer.headers.get('content-security-policy')).toBe(policy)
  })
})
