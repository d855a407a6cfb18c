import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { describe, expect, test, vi } from 'vitest'
import { ARTIFACT_PART_BYTES } from '../../protocol/limits.ts'
import { begin, chunk, complete, evict, follow, MIB, next, part, pattern, read, upload } from './bringing.ts'
import { call, fetchRaw } from './client.ts'
import { endSession, type LiveRun, liveRun, syncLive } from './stream-sockets.ts'
import { makeKey, makeRunner, ok, runnerPath, sync } from './world.ts'

/** What becomes of a session's files beyond the plain case: caps, outages, further attempts, and the end of it all. */

const CAP_BYTES = 18 * MIB
const HOUR_MS = 3_600_000

const filesOf = (live: LiveRun) => env.SESSION_FILES.getByName(live.sessionId)
const stored = async (live: LiveRun) =>
  (await env.BLOBS.list({ prefix: `ten/${live.tenant.id}/ses/${live.sessionId}/` })).objects

/** As if nobody had written to it for so long; then its alarm. */
async function alarmAfter(live: LiveRun, hours: number): Promise<void> {
  await runInDurableObject(filesOf(live), (_, state) => {
    state.storage.sql.exec('UPDATE session SET changed_at = changed_at - ?', hours * HOUR_MS)
  })
  await evict(live)
  expect(await runDurableObjectAlarm(filesOf(live))).toBe(true)
}

/** The sessions whose logs were cut, as the events of the run have it. */
async function truncations(live: LiveRun): Promise<string[]> {
  await runDurableObjectAlarm(env.RUNNER_POOL.getByName(live.poolId))
  const path = `/api/v1/runs/${live.runId}/events`
  const { items } = ok(await call('GET', path, { key: live.tenant.keys.viewer })).body
  return items.flatMap((one: { type: string; session_id: string }) =>
    one.type === 'log_truncated' ? [one.session_id] : [],
  )
}

/** Until what it returns is called. */
function blobsFail(method: 'put' | 'delete'): () => void {
  const real = env.BLOBS
  const down = async () => {
    throw new Error('R2 is down')
  }
  const failing = new Proxy(real, {
    get: (target, name) => (name === method ? down : Reflect.get(target, name).bind(target)),
  })
  Object.defineProperty(env, 'BLOBS', { value: failing, configurable: true })
  return () => void Object.defineProperty(env, 'BLOBS', { value: real, configurable: true })
}

describe('a log', () => {
  test('is cut at its cap and says so itself, once, and its followers hear of the end', async () => {
    const live = await liveRun()
    const piece = pattern(MIB)
    ok(await chunk(live, 0, pattern(1000)))
    for (let at = 1000; at + MIB < CAP_BYTES; at += MIB)
      expect(ok(await chunk(live, at, piece)).body.truncated).toBe(false)
    const last = 1000 + 17 * MIB
    expect(ok(await chunk(live, last, piece)).body).toEqual({ length: CAP_BYTES, truncated: true })
    await evict(live)
    for (const offset of [CAP_BYTES, last, 5])
      expect(ok(await chunk(live, offset, 'more')).body).toEqual({ length: CAP_BYTES, truncated: true })
    await endSession(live)
    ok(await chunk(live, CAP_BYTES, '', '&complete=1'))
    const whole = new Uint8Array(await (await read(live)).arrayBuffer())
    expect(whole.slice(last, CAP_BYTES)).toEqual(piece.slice(0, CAP_BYTES - last))
    const notice = `\n--- the log is cut here: no more than ${CAP_BYTES} bytes of a log are kept (SelfHosted__LogCapBytes) ---\n`
    expect(new TextDecoder().decode(whole.slice(CAP_BYTES))).toBe(notice)
    await next(follow(live, { 'last-event-id': `${live.sessionId}.${CAP_BYTES}` }), 'end')
    expect(await truncations(live)).toEqual([live.sessionId])
  })

  test('that its runner has cut is an event of its run, once, also after the end', async () => {
    const [live, ended] = [await liveRun(), await liveRun()]
    await endSession(ended)
    for (const one of [live, ended]) {
      ok(await chunk(one, 0, 'kept\n', '&cut=1'))
      await evict(one)
      // A crash after the event, before it was noted that it is told.
      await runInDurableObject(filesOf(one), (_, { storage }) => {
        storage.sql.exec('UPDATE session SET cut_told = 0')
      })
      await evict(one)
      ok(await chunk(one, 5, '', '&cut=1&complete=1'))
      expect(await truncations(one)).toEqual([one.sessionId])
    }
  })

  test('of a run that is silent for two days goes on; what nobody goes on with after that is kept as it is', async () => {
    const live = await liveRun()
    ok(await chunk(live, 0, 'early\n'))
    await alarmAfter(live, 47)
    ok(await chunk(live, 6, 'late\n'))
    await alarmAfter(live, 50)
    expect((await chunk(live, 11, 'too late\n')).body.code).toBe('offset_mismatch')
    expect((await stored(live)).map(object => object.size)).toEqual([11])
    expect(await (await read(live)).text()).toBe('early\nlate\n')
  })

  test('is taken, kept and read while object storage is down, and moves there when it is back', async () => {
    const live = await liveRun()
    ok(await chunk(live, 0, pattern(MIB)))
    const back = blobsFail('put')
    for (let at = 1; at < 10; at++) ok(await chunk(live, at * MIB, pattern(MIB, at * MIB)))
    expect(await stored(live)).toEqual([])
    const whole = async () => new Uint8Array(await (await read(live)).arrayBuffer())
    const before = await whole()
    expect(before.length).toBe(10 * MIB)
    back()
    await evict(live)
    expect(await runDurableObjectAlarm(filesOf(live))).toBe(true)
    expect((await stored(live)).map(object => object.size)).toEqual([8 * MIB])
    expect(await whole()).toEqual(before)
  })

  test('is read whole while it moves', async () => {
    const live = await liveRun()
    for (let at = 0; at < 7; at++) ok(await chunk(live, at * MIB, pattern(MIB, at * MIB)))
    const answer = await read(live)
    const reader = answer.body?.getReader()
    const first = await reader?.read()
    // With these the first segment goes to object storage and leaves the object.
    for (let at = 7; at < 9; at++) ok(await chunk(live, at * MIB, pattern(MIB, at * MIB)))
    await vi.waitFor(async () => expect((await stored(live)).length).toBe(1))
    let length = first?.value?.length ?? 0
    for (let piece = await reader?.read(); piece && !piece.done; piece = await reader?.read())
      length += piece.value.length
    expect(length).toBe(7 * MIB)
  })
})

describe('the log of a run that is tried again', () => {
  /** The same run, in the session that follows the one that failed; another runner has it at once. */
  async function nextAttempt(live: LiveRun): Promise<LiveRun> {
    const runner = await makeRunner(live.tenant, live.poolId, 'runner-next')
    const offered = ok(await sync(runner, 1)).body.offers[0].session_id
    const again = { ...live, runner, sessionId: offered, seq: 1 }
    await syncLive(again)
    return again
  }
  async function failed(live: LiveRun): Promise<void> {
    const exit = { code: null, reason: 'engine_error' }
    await syncLive(live, { leases: [{ session_id: live.sessionId, state: 'exited', exit }] })
    // Brings the events to D1.
    await runDurableObjectAlarm(env.RUNNER_POOL.getByName(live.poolId))
  }
  const show = async (live: LiveRun, session = '') =>
    await (await read(live, {}, `logs${session && `?session_id=${session}`}`)).text()

  test('is the last attempt’s that was started, and each attempt’s by its session', async () => {
    const first = await liveRun()
    ok(await chunk(first, 0, 'of the first\n'))
    await upload(first, 'a.txt', pattern(3))
    await failed(first)
    expect(await show(first)).toBe('of the first\n')
    const waiting = ok(
      await call('GET', `/api/v1/runs/${first.runId}/artifacts`, { key: first.tenant.keys.viewer }),
    )
    expect(waiting.body.items.length).toBe(1)
    const second = await nextAttempt(first)
    ok(await chunk(second, 0, 'of the second\n'))
    expect(await show(second)).toBe('of the second\n')
    await runDurableObjectAlarm(env.RUNNER_POOL.getByName(first.poolId))
    const events = ok(
      await call('GET', `/api/v1/runs/${first.runId}/events`, { key: first.tenant.keys.viewer }),
    ).body.items
    const sessions = events.flatMap((one: { type: string; session_id?: string }) =>
      one.type === 'running' ? [one.session_id] : [],
    )
    expect(sessions).toEqual([first.sessionId, second.sessionId])
    expect(await Promise.all(sessions.map((one: string) => show(first, one)))).toEqual([
      'of the first\n',
      'of the second\n',
    ])
  })

  test('is followed from one attempt to the next, from wherever a reader was', async () => {
    const first = await liveRun()
    ok(await chunk(first, 0, 'one\n'))
    const heard = follow(first)
    const { id } = await next(heard, 'log')
    ok(await chunk(first, 4, 'two\nand half a line'))
    await failed(first)
    const second = await nextAttempt(first)
    ok(await chunk(second, 0, 'three\n'))
    await endSession(second)
    ok(await chunk(second, 6, '', '&complete=1'))
    const expected = ['two\n', 'and half a line', second.sessionId, 'three\n', 'end']
    for (const one of [heard, follow(first, { 'last-event-id': id })]) {
      const said: string[] = []
      for await (const { event, data } of one) said.push(data.text ?? data.session_id ?? event)
      expect(said).toEqual(expected)
    }
    const alone = []
    for await (const { event, data } of follow(second, {}, `&session_id=${first.sessionId}`))
      alone.push(data.text ?? event)
    expect(alone).toEqual(['session', 'one\ntwo\n', 'and half a line', 'end'])
  })
})

describe('a follower', () => {
  test('of a run that was lost with its runner hears of the end at once, also of half a line', async () => {
    const live = await liveRun({ max_attempts: 1 })
    ok(await chunk(live, 0, 'half a line'))
    const path = `/api/v1/pools/${live.poolId}/runners/${live.runner.id}?force=true`
    ok(await call('DELETE', path, { key: live.tenant.keys.admin }))
    const heard = follow(live)
    expect((await next(heard, 'log')).data.text).toBe('half a line')
    expect((await next(heard, 'end')).data.status).toBe('lost')
  })

  test('is not told more once its key is revoked', async () => {
    const live = await liveRun()
    const secret = await makeKey(live.tenant.keys.admin, 'viewer')
    const listed = ok(await call('GET', '/api/v1/api-keys', { key: live.tenant.keys.admin })).body.items
    const heard = follow(live, {}, '', secret)
    await next(heard, 'session')
    // The newest is the one just made.
    ok(await call('DELETE', `/api/v1/api-keys/${listed[0].id}`, { key: live.tenant.keys.admin }))
    let isOver = false
    const ended = (async () => {
      for await (const { event } of heard) expect(event).toBe('log')
      isOver = true
    })()
    for (let at = 0; !isOver; at += 2) {
      ok(await chunk(live, at, 'x\n'))
      await new Promise(resolve => setTimeout(resolve, 200))
    }
    await ended
  })

  test('with a place that is beyond the log, or of nothing at all, hears of the end', async () => {
    const live = await liveRun()
    ok(await chunk(live, 0, 'all\n', '&complete=1'))
    await endSession(live)
    for (const id of [`${live.sessionId}.999`, 'nonsense', `${live.sessionId}.-1`])
      await next(follow(live, { 'last-event-id': id }), 'end')
  })
})

describe('artifacts', () => {
  const begun = async (live: LiveRun, name: string) => {
    const answer = await begin(live, name, pattern(ARTIFACT_PART_BYTES + 1))
    return answer.status === 201 ? 'taken' : answer.body.code
  }

  test('are a thousand at most, also when they are announced together', async () => {
    const live = await liveRun()
    await begun(live, 'first')
    await runInDurableObject(filesOf(live), (_, { storage }) => {
      for (let at = 1; at < 998; at++)
        storage.sql.exec(
          'INSERT INTO uploads (upload_id, name, size, sha256) VALUES (?, ?, 1, ?)',
          `${at}`,
          `${at}`,
          'x',
        )
    })
    const together = await Promise.all(['a', 'b', 'c', 'd', 'e'].map(name => begun(live, name)))
    expect(together.toSorted()).toEqual([...Array(3).fill('payload_too_large'), 'taken', 'taken'])
    expect(await begun(live, 'first')).toBe('taken')
  })

  test('are so many bytes at most', async () => {
    const live = await liveRun()
    await begun(live, 'first')
    await runInDurableObject(filesOf(live), (_, { storage }) => {
      const size = 8 * 1024 ** 3 - 2 * (ARTIFACT_PART_BYTES + 1)
      storage.sql.exec(
        'INSERT INTO uploads (upload_id, name, size, sha256) VALUES (?, ?, ?, ?)',
        'x',
        'x',
        size,
        'x',
      )
    })
    expect([await begun(live, 'fits'), await begun(live, 'does not')]).toEqual(['taken', 'payload_too_large'])
  })

  test('are given in parts only to who has the rest of the same', async () => {
    const live = await liveRun()
    await upload(live, 'a.txt', new TextEncoder().encode('0123456789'))
    const ask = (headers: Record<string, string>) => read(live, headers, 'artifacts/a.txt')
    const etag = (await ask({})).headers.get('etag') ?? ''
    const range = 'bytes=2-4'
    expect(await (await ask({ range })).text()).toBe('234')
    expect(await (await ask({ range, 'if-range': etag })).text()).toBe('234')
    const other = await ask({ range, 'if-range': '"another"' })
    expect([other.status, await other.text()]).toEqual([200, '0123456789'])
  })

  test('are described without their bytes, and not sent again to who has them', async () => {
    const live = await liveRun()
    await upload(live, 'a.txt', new TextEncoder().encode('0123456789'))
    const key = live.tenant.keys.viewer
    const path = `/api/v1/runs/${live.runId}/artifacts/a.txt`
    const blobs = vi.spyOn(env.BLOBS, 'get')
    const ask = async (method: string, headers: Record<string, string> = {}) => {
      const answer = await fetchRaw(method, path, { key, headers })
      return { answer, seen: [answer.status, answer.headers.get('content-length'), await answer.text()] }
    }
    const { answer, seen } = await ask('HEAD')
    expect(seen).toEqual([200, '10', ''])
    const etag = answer.headers.get('etag') ?? ''
    expect(answer.headers.get('content-type')).toBe('text/plain; charset=utf-8')
    expect((await ask('HEAD', { range: 'bytes=2-4' })).seen).toEqual([206, '3', ''])
    for (const known of [etag, `W/${etag}`, `"another", ${etag}`, '*']) {
      expect((await ask('GET', { 'if-none-match': known, range: 'bytes=2-4' })).seen).toEqual([304, null, ''])
    }
    expect(blobs).not.toHaveBeenCalled()
    expect((await ask('GET', { 'if-none-match': '"another"' })).seen[2]).toBe('0123456789')
    blobs.mockRestore()

    ok(await chunk(live, 0, pattern(5)))
    const log = await fetchRaw('HEAD', `/api/v1/runs/${live.runId}/logs`, { key })
    expect([log.status, log.headers.get('content-length')]).toEqual([200, '5'])
  })
})

describe('after the retention time', () => {
  async function leavesAll(): Promise<LiveRun> {
    const live = await liveRun()
    for (let at = 0; at < 9; at++) ok(await chunk(live, at * MIB, pattern(MIB)))
    await upload(live, 'a.txt', pattern(3))
    await upload(live, 'b.bin', pattern(ARTIFACT_PART_BYTES + 1))
    const unfinished = ok(await begin(live, 'c.bin', pattern(ARTIFACT_PART_BYTES + 2))).body.upload_id
    ok(await part(live, unfinished, 1, pattern(ARTIFACT_PART_BYTES)))
    await endSession(live)
    ok(await chunk(live, 9 * MIB, '', '&complete=1'))
    await vi.waitFor(async () => expect((await stored(live)).length).toBe(4))
    return live
  }
  const tables = (live: LiveRun) =>
    runInDurableObject(filesOf(live), (_, { storage }) =>
      storage.sql.exec(`SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf%' ESCAPE '\\'`).toArray(),
    )

  test('nothing is left, in object storage or in the object, also when the pool is gone; others keep theirs', async () => {
    const [live, other] = [await leavesAll(), await leavesAll()]
    await alarmAfter(live, 29 * 24)
    expect((await stored(live)).length).toBe(4)
    const { admin, viewer } = live.tenant.keys
    ok(
      await call('DELETE', `/api/v1/pools/${live.poolId}/runners/${live.runner.id}?force=true`, {
        key: admin,
      }),
    )
    ok(await call('DELETE', `/api/v1/environments/${live.environmentId}`, { key: admin }))
    await runDurableObjectAlarm(env.RUNNER_POOL.getByName(live.poolId))
    ok(await call('DELETE', `/api/v1/pools/${live.poolId}`, { key: admin }))
    await alarmAfter(live, 24)
    expect(await stored(live)).toEqual([])
    expect(await tables(live)).toEqual([])
    expect(await runDurableObjectAlarm(filesOf(live))).toBe(false)
    expect(await (await read(live)).text()).toBe('')
    const artifact = await call('GET', `/api/v1/runs/${live.runId}/artifacts/a.txt`, { key: viewer })
    expect(artifact.body.code).toBe('not_found')
    expect((await stored(other)).length).toBe(4)
    expect(await (await read(other, {}, 'artifacts/b.bin')).arrayBuffer()).toHaveProperty(
      'byteLength',
      ARTIFACT_PART_BYTES + 1,
    )
  })

  test('that was shortened meanwhile nothing is kept for long: each object looks once a week', async () => {
    const live = await leavesAll()
    const days = async () => {
      const at = await runInDurableObject(filesOf(live), (_, { storage }) => storage.getAlarm())
      return ((at ?? Number.POSITIVE_INFINITY) - Date.now()) / (24 * HOUR_MS)
    }
    expect(await days()).toBeLessThanOrEqual(7)
    await alarmAfter(live, 8 * 24)
    expect(await days()).toBeGreaterThan(6)
    expect(await days()).toBeLessThanOrEqual(7)
    expect((await stored(live)).length).toBe(4)
    // Armed by a release that looked only once.
    await runInDurableObject(filesOf(live), (_, { storage }) =>
      storage.setAlarm(Date.now() + 22 * 24 * HOUR_MS),
    )
    await evict(live)
    expect(await days()).toBeLessThanOrEqual(7)
  })

  test('what object storage does not delete now is deleted later', async () => {
    const live = await leavesAll()
    await runInDurableObject(filesOf(live), (_, state) => {
      state.storage.sql.exec('UPDATE session SET changed_at = changed_at - ?', 31 * 24 * HOUR_MS)
    })
    await evict(live)
    const back = blobsFail('delete')
    await runDurableObjectAlarm(filesOf(live))
    expect((await stored(live)).length).toBe(4)
    back()
    expect(await runDurableObjectAlarm(filesOf(live))).toBe(true)
    expect(await stored(live)).toEqual([])
  })
})

test('what is completed twice at once is there once, and what came before it is replaced', async () => {
  const live = await liveRun()
  await upload(live, 'a.txt', pattern(3))
  const bytes = pattern(2 * ARTIFACT_PART_BYTES + 1)
  const { upload_id } = ok(await begin(live, 'a.txt', bytes)).body
  for (let n = 1; n <= 3; n++)
    ok(await part(live, upload_id, n, bytes.slice((n - 1) * ARTIFACT_PART_BYTES, n * ARTIFACT_PART_BYTES)))
  for (const answer of await Promise.all([complete(live, upload_id), complete(live, upload_id)])) ok(answer)
  const listed = ok(
    await call('GET', `/api/v1/runs/${live.runId}/artifacts`, { key: live.tenant.keys.viewer }),
  )
  expect(listed.body.items.map((one: { size: number }) => one.size)).toEqual([bytes.length])
})

describe('an artifact that another of its name replaces', () => {
  const bytesOf = (live: LiveRun) =>
    runInDurableObject(
      filesOf(live),
      (_, { storage }) => storage.sql.exec('SELECT sum(size) AS sum FROM uploads').one().sum,
    )

  test('leaves object storage, and counts until it has', async () => {
    const live = await liveRun()
    await upload(live, 'a.txt', pattern(3))
    const back = blobsFail('delete')
    await upload(live, 'a.txt', pattern(5))
    expect([(await stored(live)).length, await bytesOf(live)]).toEqual([2, 8])
    expect(await (await read(live, {}, 'artifacts/a.txt')).arrayBuffer()).toHaveProperty('byteLength', 5)
    back()
    // As after a crash: nothing but the row tells of what is left to do.
    await evict(live)
    expect(await runDurableObjectAlarm(filesOf(live))).toBe(true)
    expect((await stored(live)).map(({ size }) => size)).toEqual([5])
    expect(await bytesOf(live)).toBe(5)
    await upload(live, 'a.txt', pattern(3))
    await vi.waitFor(async () => expect((await stored(live)).map(({ size }) => size)).toEqual([3]))
    expect(await (await read(live, {}, 'artifacts/a.txt')).arrayBuffer()).toHaveProperty('byteLength', 3)
  })
})

test('what chatty sessions bring is not counted against the runner’s syncs', async () => {
  const live = await liveRun()
  const keys: string[] = []
  const LIMIT_KEY = { limit: async ({ key }: { key: string }) => ({ success: keys.push(key) > 0 }) }
  const path = `${runnerPath(live.runner, `sessions/${live.sessionId}/logs`)}?offset=0`
  const headers = { 'content-length': '1' }
  await call('POST', path, { key: live.runner.credential, rawBody: 'x', headers, env: { LIMIT_KEY } })
  await sync(live.runner, 9, {}, { LIMIT_KEY })
  expect(new Set(keys).size).toBe(2)
})
