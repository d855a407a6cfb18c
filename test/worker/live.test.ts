import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { describe, expect, test } from 'vitest'
import { isTerminal } from '../../protocol/run.ts'
import { encodeFrame } from '../../protocol/stream.ts'
import { mintId } from '../../worker/ids.ts'
import { call, ORIGIN } from './client.ts'
import {
  commandsOf,
  dialRelay,
  dialStream,
  endSession,
  type LiveRun,
  liveRun,
  syncLive,
  TestPublisher,
  TestViewer,
  ticketFor,
} from './stream-sockets.ts'
import { makeTenant, ok } from './world.ts'

const run = async (live: LiveRun) =>
  ok(await call('GET', `/api/v1/runs/${live.runId}`, { key: live.tenant.keys.viewer })).body

async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  for (let tries = 0; tries < 200; tries++) {
    const seen = await look()
    if (seen !== undefined) return seen
    await new Promise(resolve => setTimeout(resolve, 10))
  }
  throw new Error(`never: ${what}`)
}

describe('a live view', () => {
  test('goes from the first viewer through open_stream to a picture, and back', async () => {
    const live = await liveRun()
    expect((await run(live)).stream).toEqual({ transport: 'relay', state: 'off', viewers: 0 })
    const viewer = await TestViewer.join(live)
    expect(await viewer.message()).toMatchObject({ type: 'hello', mode: 'view', session_id: live.sessionId })
    expect(await viewer.message()).toMatchObject({ type: 'state', stream: 'connecting' })
    const opening = await until('open_stream is ordered', async () =>
      commandsOf(await syncLive(live)).find(command => command.type === 'open_stream'),
    )
    expect(opening.session_id).toBe(live.sessionId)

    const publisher = await TestPublisher.join(live)
    await publisher.demand(1)
    publisher.send({ type: 'hello', width: 1280, height: 720 })
    publisher.frame(1)
    await viewer.until('live')
    expect(await viewer.frame()).toBe(1)
    await until('the run shows it', async () =>
      (await run(live)).stream.state === 'live' ? true : undefined,
    )
    expect((await run(live)).stream.viewers).toBe(1)
    expect(commandsOf(await syncLive(live, { acks: [opening.id] }))).toEqual([])

    viewer.socket.close(1000)
    await publisher.demand(0)
    const closing = await until('close_stream is ordered', async () =>
      commandsOf(await syncLive(live)).find(command => command.type === 'close_stream'),
    )
    publisher.socket.close(1000)
    let acks = [closing.id]
    await until('nothing is wanted any more', async () => {
      acks = commandsOf(await syncLive(live, { acks })).map(command => command.id)
      return acks.length === 0 ? true : undefined
    })
    expect((await run(live)).stream).toEqual({ transport: 'relay', state: 'off', viewers: 0 })
  })

  test('gives a viewer two frames ahead of its acks, then only the newest, and says what it skipped', async () => {
    const live = await liveRun()
    const publisher = await TestPublisher.join(live)
    const viewer = await TestViewer.join(live)
    const other = await TestViewer.join(live)
    for (const seq of [1, 2, 3, 4, 5]) publisher.frame(seq)
    expect(await viewer.frame()).toBe(1)
    expect(await viewer.frame()).toBe(2)
    expect(await other.frame()).toBe(1)
    other.ack(1)
    expect(await other.frame()).toBe(2)
    expect(await viewer.rest()).toEqual([])
    viewer.ack(2)
    expect(await viewer.message()).toEqual({ type: 'gap', skipped: 2 })
    expect(await viewer.frame()).toBe(5)
    // An ack of what was never sent gives no credit.
    viewer.ack(77)
    publisher.frame(6)
    expect(await viewer.frame()).toBe(6)
    publisher.frame(7)
    expect(await viewer.rest()).toEqual([])
  })

  test('shows a late viewer the last frame at once', async () => {
    const live = await liveRun()
    const publisher = await TestPublisher.join(live)
    await TestViewer.join(live)
    publisher.frame(41)
    const late = await TestViewer.join(live)
    expect(await late.frame()).toBe(41)
  })

  test('survives an eviction between any two messages', async () => {
    const live = await liveRun()
    const evict = () => evictDurableObject(env.SESSION_RELAY.getByName(live.sessionId))
    const viewer = await TestViewer.join(live)
    await viewer.until('connecting')
    await evict()
    const publisher = await TestPublisher.join(live)
    await publisher.demand(1)
    await evict()
    publisher.frame(1)
    expect(await viewer.frame()).toBe(1)
    await evict()
    publisher.frame(2)
    expect(await viewer.frame()).toBe(2)
    await evict()
    publisher.frame(3)
    expect(await viewer.rest()).toEqual([])
    await evict()
    viewer.ack(1)
    publisher.frame(4)
    expect(await viewer.frame()).toBe(4)
    await evict()
    // What was the last picture is forgotten, so it is asked for again.
    const late = await TestViewer.join(live)
    expect(await publisher.demand(2)).toMatchObject({ refresh: true })
    publisher.frame(5)
    expect(await late.frame()).toBe(5)
  })

  test('tells its viewers when the publisher is gone and when it is back', async () => {
    const live = await liveRun()
    const viewer = await TestViewer.join(live)
    const first = await TestPublisher.join(live)
    first.frame(1)
    await viewer.until('live')
    first.socket.close(1000)
    expect(await viewer.until('connecting')).toMatchObject({ reason: expect.stringContaining('lost') })
    const second = await TestPublisher.join(live)
    second.frame(2)
    await viewer.until('live')
    const third = await TestPublisher.join(live)
    expect(await second.close()).toBe(4409)
    third.frame(3)
    await viewer.until('live')
  })

  test('tells its viewers that the publisher has gone also when it had forgotten everything', async () => {
    const live = await liveRun()
    const viewer = await TestViewer.join(live)
    const publisher = await TestPublisher.join(live)
    publisher.frame(1)
    await viewer.until('live')
    await evictDurableObject(env.SESSION_RELAY.getByName(live.sessionId))
    publisher.socket.close(1000)
    expect(await viewer.until('connecting')).toMatchObject({ reason: expect.stringContaining('lost') })
  })

  test('tells its viewers who is missing when there is nothing to show, until there is a picture again', async () => {
    const live = await liveRun()
    const viewer = await TestViewer.join(live)
    const publisher = await TestPublisher.join(live)
    publisher.frame(1)
    await viewer.until('live')
    publisher.send({ type: 'blank', cause: 'no_browser' })
    expect(await viewer.until('connecting')).toMatchObject({ reason: expect.stringContaining('browser') })
    publisher.send({ type: 'blank', cause: 'no_agent' })
    expect(await viewer.until('connecting')).toMatchObject({ reason: expect.stringContaining('container') })
    publisher.frame(2)
    await viewer.until('live')
  })

  test('ends with its session: 4410 for both ends', async () => {
    const live = await liveRun()
    const viewer = await TestViewer.join(live)
    const publisher = await TestPublisher.join(live)
    publisher.frame(1)
    await viewer.until('live')
    await until('the pool has heard of it', async () =>
      (await run(live)).stream.state === 'live' ? true : undefined,
    )
    await endSession(live)
    await viewer.until('ended')
    expect([await viewer.close(), await publisher.close()]).toEqual([4410, 4410])
    expect((await run(live)).stream).toEqual({ transport: 'relay', state: 'ended', viewers: 0 })
    const again = await dialRelay(live)
    expect([again.status, again.body.code]).toEqual([409, 'session_ended'])
    const path = `/api/v1/runs/${live.runId}/viewer-tickets`
    const refused = await call('POST', path, { key: live.tenant.keys.viewer, body: { mode: 'view' } })
    expect([refused.status, refused.body.code]).toEqual([409, 'not_running'])
    expect(isTerminal(refused.body.run_status)).toBe(true)
  })
})

describe('what a viewer sends', () => {
  test('reaches the publisher in control mode and closes a view-only socket', async () => {
    const live = await liveRun()
    const publisher = await TestPublisher.join(live)
    const driver = await TestViewer.join(live, 'control')
    const watcher = await TestViewer.join(live)
    const event = {
      kind: 'mouse',
      action: 'down',
      x: 10,
      y: 20,
      button: 'left',
      buttons: 1,
      click_count: 1,
      modifiers: 0,
    }
    driver.send({ type: 'input', event })
    const inputs = async () => {
      for (;;) {
        const message = await publisher.message()
        if (message.type === 'input') return message
      }
    }
    expect(await inputs()).toEqual({ type: 'input', event })
    watcher.send({ type: 'input', event })
    expect(await watcher.close()).toBe(4403)
  })

  test.each([
    ['not JSON', 'nonsense'],
    ['of no known type', '{"type":"shout"}'],
    ['binary', new Uint8Array([1, 2, 3])],
    ['an input of another form', '{"type":"input","event":{"kind":"mouse","action":"down","x":1e9,"y":0}}'],
    ['too long', JSON.stringify({ type: 'ack', seq: 1, padding: 'x'.repeat(20_000) })],
  ])('closes it with 4413 when it is %s', async (_what, message) => {
    const live = await liveRun()
    const viewer = await TestViewer.join(live, 'control')
    viewer.socket.send(message)
    expect(await viewer.close()).toBe(4413)
  })
})

describe('what a publisher sends', () => {
  const frame = encodeFrame({ seq: 1, capturedAtMs: 1, image: new Uint8Array([1]) })
  test.each([
    ['a frame of an unknown type', frame.with(0, 9)],
    ['a frame without an image', frame.slice(0, 13)],
    ['a frame larger than the limit', new Uint8Array(2 * 1024 * 1024 + 1).fill(1)],
    ['text that is none of the protocol', 'picture'],
    ['a hello of impossible size', '{"type":"hello","width":0,"height":1}'],
  ])('closes it with 4413 when it is %s, and reaches no viewer', async (_what, message) => {
    const live = await liveRun()
    const publisher = await TestPublisher.join(live)
    const viewer = await TestViewer.join(live)
    publisher.socket.send(message)
    expect(await publisher.close()).toBe(4413)
    expect((await viewer.rest()).some(heard => heard instanceof Uint8Array)).toBe(false)
  })
})

describe('a ticket', () => {
  test('opens one stream, once', async () => {
    const live = await liveRun()
    const ticket = await ticketFor(live)
    const first = await dialStream(live.runId, ticket)
    expect([first.status, first.headers.get('sec-websocket-protocol')]).toEqual([101, 'certyn.stream.v1'])
    const second = await dialStream(live.runId, ticket)
    expect([second.status, second.body.code]).toEqual([401, 'unauthenticated'])
  })

  test('opens nothing once its time is over', async () => {
    const live = await liveRun()
    const ticket = await ticketFor(live)
    await runInDurableObject(env.SESSION_RELAY.getByName(live.sessionId), (_, state) => {
      state.storage.sql.exec('UPDATE tickets SET expires_at = expires_at - 30000')
    })
    const late = await dialStream(live.runId, ticket)
    expect([late.status, late.body.code]).toEqual([401, 'unauthenticated'])
  })

  test('does not open another run, another tenant’s run, or a run there is not', async () => {
    const [live, other] = await Promise.all([liveRun(), liveRun()])
    for (const runId of [other.runId, mintId('run')]) {
      const refused = await dialStream(runId, await ticketFor(live))
      expect([refused.status, refused.body.code]).toEqual([401, 'unauthenticated'])
    }
  })

  test.each([
    ['none', null],
    ['nonsense', 'cty_view_nonsense'],
    ['a wrong checksum', `cty_view_${'0'.repeat(49)}`],
  ])('is refused when it is %s', async (_what, ticket) => {
    const live = await liveRun()
    expect((await dialStream(live.runId, ticket)).status).toBe(401)
  })

  test('is for pages of this origin only', async () => {
    const live = await liveRun()
    const origins = [
      'https://evil.example',
      'null',
      `${ORIGIN}.evil.example`,
      ORIGIN.replace('https', 'http'),
      `${ORIGIN}:444`,
    ]
    for (const origin of origins) {
      const refused = await dialStream(live.runId, await ticketFor(live), { origin })
      expect([refused.status, refused.body.code], origin).toEqual([403, 'forbidden'])
    }
    expect((await dialStream(live.runId, await ticketFor(live), { origin: ORIGIN })).status).toBe(101)
  })

  test('for control is not given to the role viewer, nor any to another tenant', async () => {
    const live = await liveRun()
    const path = `/api/v1/runs/${live.runId}/viewer-tickets`
    const refused = await call('POST', path, { key: live.tenant.keys.viewer, body: { mode: 'control' } })
    expect([refused.status, refused.body.code]).toEqual([403, 'forbidden'])
    const stranger = await makeTenant()
    const absent = await call('POST', path, { key: stranger.keys.admin, body: { mode: 'view' } })
    expect([absent.status, absent.body.code]).toEqual([404, 'not_found'])
  })

  test('dies with the key it was made with, and so does the socket it opened', async () => {
    const live = await liveRun()
    const { key } = ok(await call('GET', '/api/v1/me', { key: live.tenant.keys.member })).body
    const viewer = await TestViewer.join(live)
    const unused = await ticketFor(live)
    ok(await call('DELETE', `/api/v1/api-keys/${key.id}`, { key: live.tenant.keys.admin }))
    expect(await viewer.close()).toBe(4401)
    expect((await dialStream(live.runId, unused)).status).toBe(401)
  })
})

describe('a live link', () => {
  async function link(live: LiveRun, body: object = {}) {
    const path = `/api/v1/runs/${live.runId}/live-links`
    const wanted = { mode: 'view', expires_in_seconds: 600, max_viewers: 1, ...body }
    const made = ok(await call('POST', path, { key: live.tenant.keys.member, body: wanted })).body
    return { id: made.id as string, url: made.url as string, secret: String(made.url).split('#')[1] ?? '' }
  }
  const exchange = (runId: string, secret: string) =>
    call('POST', '/api/v1/live-links/exchange', { body: { run_id: runId, link: secret } })

  test('is exchanged for a ticket without any key, for as many viewers at once as it allows', async () => {
    const live = await liveRun()
    const { url, secret } = await link(live)
    expect(url).toBe(`${ORIGIN}/live/${live.runId}#${secret}`)
    const [first, late] = [ok(await exchange(live.runId, secret)), ok(await exchange(live.runId, secret))]
    const viewer = new TestViewer(await dialStream(live.runId, first.body.ticket))
    await viewer.until('connecting')
    const second = await dialStream(live.runId, late.body.ticket)
    expect([second.status, second.body.code]).toEqual([409, 'conflict'])
    viewer.socket.close(1000)
    await until('there is room again', async () => {
      const again = await exchange(live.runId, secret)
      return again.status === 201 && (await dialStream(live.runId, again.body.ticket)).status === 101
        ? true
        : undefined
    })
  })

  test('that is used up is refused before a ticket is made, and says why', async () => {
    const live = await liveRun()
    const { secret } = await link(live)
    const ticket = ok(await exchange(live.runId, secret)).body.ticket
    await new TestViewer(await dialStream(live.runId, ticket)).until('connecting')
    const traces = async () => [
      (
        await env.DB.prepare("SELECT count(*) FROM audit_events WHERE action = 'live_link.used'").raw()
      ).flat(),
      (await env.DB.prepare('SELECT source, session_id, at FROM stream_admissions').raw()).flat(),
      (
        await env.DB.prepare('SELECT last_used_at FROM live_links WHERE run_id = ?').bind(live.runId).raw()
      ).flat(),
    ]
    const before = await traces()
    for (let time = 0; time < 3; time++) {
      const refused = await exchange(live.runId, secret)
      expect([refused.status, refused.body.code, refused.body.detail]).toEqual([
        409,
        'conflict',
        '1 viewers are using this link already',
      ])
    }
    expect(await traces()).toEqual(before)
    const own = `/api/v1/runs/${live.runId}/viewer-tickets`
    const key = live.tenant.keys.viewer
    expect((await call('POST', own, { key, body: { mode: 'view' } })).status).toBe(201)
  })

  test('is listed without its secret, and once revoked opens nothing and cuts its viewers off', async () => {
    const live = await liveRun()
    const { id, secret } = await link(live)
    const viewer = new TestViewer(
      await dialStream(live.runId, ok(await exchange(live.runId, secret)).body.ticket),
    )
    const key = live.tenant.keys.member
    for (const path of [`/api/v1/runs/${live.runId}/live-links`, '/api/v1/live-links']) {
      const listed = ok(await call('GET', path, { key }))
      expect(listed.body.items.map((item: { id: string }) => item.id)).toEqual([id])
      expect(listed.text).not.toContain(secret)
    }
    ok(await call('DELETE', `/api/v1/live-links/${id}`, { key }))
    expect(await viewer.close()).toBe(4401)
    expect((await exchange(live.runId, secret)).body.code).toBe('unauthenticated')
    const stranger = await makeTenant()
    const foreign = await call('DELETE', `/api/v1/live-links/${id}`, { key: stranger.keys.admin })
    expect(foreign.status).toBe(404)
  })

  test('is listed with how its run stands', async () => {
    const live = await liveRun()
    const { id } = await link(live)
    const standing = async () => {
      const listed = await call('GET', '/api/v1/live-links', { key: live.tenant.keys.member })
      return ok(listed).body.items.map((item: { id: string; run_status: string }) => [
        item.id,
        item.run_status,
      ])
    }
    await until('it runs', async () => ((await standing())[0]?.[1] === 'running' ? true : undefined))
    await endSession(live)
    await until('it has ended', async () => ((await standing())[0]?.[1] === 'succeeded' ? true : undefined))
    await env.DB.prepare('DELETE FROM runs WHERE id = ?').bind(live.runId).run()
    expect(await standing()).toEqual([[id, null]])
  })

  test('has its calls counted against it, as a key has, and is used only when it is good', async () => {
    const live = await liveRun()
    const { id, secret } = await link(live)
    const keys: string[] = []
    const LIMIT_KEY = {
      limit: async ({ key }: { key: string }) => ({ success: keys.push(key) <= 2 }),
    }
    const ask = (runId: string, secretOf = secret) =>
      call('POST', '/api/v1/live-links/exchange', {
        body: { run_id: runId, link: secretOf },
        env: { LIMIT_KEY },
      })
    const used = async () =>
      await env.DB.prepare('SELECT last_used_at FROM live_links WHERE id = ?').bind(id).first('last_used_at')
    expect((await ask(mintId('run'))).body.code).toBe('unauthenticated')
    expect(await used()).toBeNull()
    expect((await ask(live.runId)).status).toBe(201)
    expect(await used()).not.toBeNull()
    const refused = await ask(live.runId)
    expect([refused.status, refused.body.code, keys]).toEqual([429, 'rate_limited', [id, id, id]])
  })

  test('is not exchanged for another run', async () => {
    const [live, other] = await Promise.all([liveRun(), liveRun()])
    const { secret } = await link(live)
    expect((await exchange(other.runId, secret)).status).toBe(401)
  })
})

describe('the relay of a session', () => {
  test('takes only the runner that holds the lease', async () => {
    const [live, other] = await Promise.all([liveRun(), liveRun()])
    const stolen = await dialRelay(live, other.runner.credential)
    expect(stolen.status).toBe(401)
    const foreign = await dialRelay({ ...live, runner: other.runner })
    expect([foreign.status, foreign.body.code]).toEqual([409, 'session_ended'])
  })

  test('keeps the frames of two sessions apart', async () => {
    const lives = await Promise.all([liveRun(), liveRun(), liveRun()])
    const pairs = await Promise.all(
      lives.map(async live => ({
        publisher: await TestPublisher.join(live),
        viewer: await TestViewer.join(live),
      })),
    )
    for (const [mark, { publisher }] of pairs.entries()) {
      for (let count = 1; count <= 2; count++) publisher.frame(mark * 1000 + count)
    }
    for (const [mark, { viewer }] of pairs.entries()) {
      expect([await viewer.frame(), await viewer.frame()]).toEqual([mark * 1000 + 1, mark * 1000 + 2])
    }
  })
})

describe('what nobody told the relay', () => {
  const relayOf = (live: LiveRun) => env.SESSION_RELAY.getByName(live.sessionId)
  async function alarm(live: LiveRun): Promise<void> {
    await evictDurableObject(relayOf(live))
    expect(await runDurableObjectAlarm(relayOf(live))).toBe(true)
  }

  test('a publisher that never comes: its viewers are closed with 4408 and may come again', async () => {
    const live = await liveRun()
    const viewer = await TestViewer.join(live)
    await viewer.until('connecting')
    await alarm(live)
    expect(viewer.closed).toBeNull()
    await runInDurableObject(relayOf(live), (_, state) => {
      state.storage.sql.exec('UPDATE relay SET waiting_since = waiting_since - 60000')
    })
    await alarm(live)
    expect(await viewer.close()).toBe(4408)
    await until('the pool knows', async () => ((await run(live)).stream.state === 'off' ? true : undefined))
    await runDurableObjectAlarm(env.RUNNER_POOL.getByName(live.poolId))
    const path = `/api/v1/runs/${live.runId}/events`
    const { items } = ok(await call('GET', path, { key: live.tenant.keys.viewer })).body
    expect(items).toContainEqual(
      expect.objectContaining({
        type: 'stream_closed',
        detail: expect.stringContaining('the runner did not connect in time'),
      }),
    )
    const again = await TestViewer.join(live)
    expect(await again.until('connecting')).toMatchObject({ reason: expect.stringContaining('waiting') })
  })

  test('a revoked link: its viewers are found at the next look', async () => {
    const live = await liveRun()
    const path = `/api/v1/runs/${live.runId}/live-links`
    const body = { mode: 'view', expires_in_seconds: 600, max_viewers: 5 }
    const { id, url } = ok(await call('POST', path, { key: live.tenant.keys.member, body })).body
    const exchanged = await call('POST', '/api/v1/live-links/exchange', {
      body: { run_id: live.runId, link: String(url).split('#')[1] },
    })
    const guest = new TestViewer(await dialStream(live.runId, ok(exchanged).body.ticket))
    const member = await TestViewer.join(live)
    await env.DB.prepare('UPDATE live_links SET revoked_at = 1 WHERE id = ?').bind(id).run()
    await alarm(live)
    expect(await guest.close()).toBe(4401)
    expect(member.closed).toBeNull()
  })

  test('a link that expires between exchange and connection opens nothing', async () => {
    const live = await liveRun()
    const path = `/api/v1/runs/${live.runId}/live-links`
    const body = { mode: 'view', expires_in_seconds: 600, max_viewers: 5 }
    const { id, url } = ok(await call('POST', path, { key: live.tenant.keys.member, body })).body
    const ends = Date.now() + 5_000
    await env.DB.prepare('UPDATE live_links SET expires_at = ? WHERE id = ?').bind(ends, id).run()
    const exchange = { run_id: live.runId, link: String(url).split('#')[1] }
    const { ticket, expires_at } = ok(
      await call('POST', '/api/v1/live-links/exchange', { body: exchange }),
    ).body
    expect(expires_at).toBe(new Date(ends).toISOString())
    await runInDurableObject(relayOf(live), (_, state) => {
      state.storage.sql.exec('UPDATE tickets SET expires_at = expires_at - 5000')
    })
    const late = await dialStream(live.runId, ticket)
    expect([late.status, late.webSocket]).toEqual([401, null])
  })

  test('an ended session: both ends are closed at the next look, and nothing of it is left', async () => {
    const live = await liveRun()
    const viewer = await TestViewer.join(live)
    const publisher = await TestPublisher.join(live)
    await publisher.demand(1)
    await until('the pool has heard of it', async () =>
      (await run(live)).stream.viewers === 1 ? true : undefined,
    )
    await runInDurableObject(env.RUNNER_POOL.getByName(live.poolId), (_, state) => {
      state.storage.sql.exec('DELETE FROM streams')
    })
    await endSession(live)
    expect(viewer.closed).toBeNull()
    await alarm(live)
    expect([await viewer.close(), await publisher.close()]).toEqual([4410, 4410])
    await runInDurableObject(relayOf(live), (_, state) => {
      expect(state.storage.sql.exec("SELECT name FROM sqlite_master WHERE name = 'relay'").toArray()).toEqual(
        [],
      )
    })
  })

  test('a session nobody ever asked about leaves no table and no alarm', async () => {
    const unknown = env.SESSION_RELAY.getByName(mintId('session'))
    await runInDurableObject(unknown, async (instance, state) => {
      await instance.fetch(new Request('https://relay.internal/', { headers: { upgrade: 'websocket' } }))
      expect(state.storage.sql.exec('SELECT name FROM sqlite_master').toArray()).toEqual([])
      expect(await state.storage.getAlarm()).toBeNull()
    })
  })
})
