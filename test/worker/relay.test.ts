import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { describe, expect, test, vi } from 'vitest'
import { RunnerPool } from '../../durable-objects/runner-pool/object.ts'
import type { TicketGrant } from '../../durable-objects/session-relay/rpc.ts'
import { RelayStore } from '../../durable-objects/session-relay/store.ts'
import type { RelayStub } from '../../worker/env.ts'
import { BINDINGS, call, outcome } from './client.ts'
import {
  commandsOf,
  dialStream,
  endSession,
  type LiveRun,
  liveRun,
  syncLive,
  TestPublisher,
  TestViewer,
  ticketFor,
} from './stream-sockets.ts'
import { ok } from './world.ts'

/** The session's relay where it is pressed: slow viewers, lost notices, evictions, races. */

const relayOf = (live: LiveRun) => env.SESSION_RELAY.getByName(live.sessionId)
const streamOf = async (live: LiveRun) =>
  ok(await call('GET', `/api/v1/runs/${live.runId}`, { key: live.tenant.keys.viewer })).body.stream
const evict = (live: LiveRun) => evictDurableObject(relayOf(live))

async function look(live: LiveRun): Promise<void> {
  await evict(live)
  expect(await runDurableObjectAlarm(relayOf(live))).toBe(true)
}

function query(live: LiveRun, sql: string): Promise<unknown[]> {
  return runInDurableObject(relayOf(live), (_, state) => state.storage.sql.exec(sql).toArray())
}

describe('a viewer that takes nothing', () => {
  test('costs nineteen others nothing, and is sent two frames and then the newest', async () => {
    const live = await liveRun()
    const publisher = await TestPublisher.join(live)
    const stalled = await TestViewer.join(live)
    const others = await Promise.all(Array.from({ length: 19 }, () => TestViewer.join(live)))
    const last = 40
    for (let seq = 1; seq <= last; seq++) {
      publisher.frame(seq)
      for (const viewer of others) {
        expect(await viewer.frame()).toBe(seq)
        viewer.ack(seq)
      }
    }
    for (const viewer of others) expect((await viewer.rest()).filter(isFrame)).toEqual([])
    expect((await stalled.rest()).filter(isFrame).map(seqOf)).toEqual([1, 2])
    stalled.ack(2)
    expect(await stalled.message()).toEqual({ type: 'gap', skipped: last - 3 })
    expect(await stalled.frame()).toBe(last)
  })

  test('stops the frames when it is the only one, also when its leaving got lost, until it takes one again', async () => {
    const live = await liveRun()
    const publisher = await TestPublisher.join(live)
    const viewer = await TestViewer.join(live)
    await publisher.demand(1)
    for (const seq of [1, 2, 3]) publisher.frame(seq)
    expect([await viewer.frame(), await viewer.frame()]).toEqual([1, 2])
    await letPass(live, 2_000)
    publisher.frame(4)
    await publisher.demand(0)
    publisher.frame(5)
    await evict(live)
    expect(await publisher.rest()).toEqual([])
    viewer.ack(2)
    expect(await publisher.demand(1)).toMatchObject({ refresh: true })
    publisher.frame(6)
    expect(await viewer.frame()).toBe(6)
    for (const seq of [7, 8]) publisher.frame(seq)
    await letPass(live, 2_000)
    publisher.frame(9)
    await publisher.demand(0)
    // Whoever comes now does take frames.
    const other = await TestViewer.join(live)
    expect(await publisher.demand(2)).toMatchObject({ refresh: true })
    publisher.frame(10)
    expect(await other.frame()).toBe(9)
    expect(await other.frame()).toBe(10)
  })

  test('is given up after five minutes', async () => {
    const live = await liveRun()
    const publisher = await TestPublisher.join(live)
    const viewer = await TestViewer.join(live)
    for (const seq of [1, 2, 3]) publisher.frame(seq)
    expect([await viewer.frame(), await viewer.frame()]).toEqual([1, 2])
    await letPass(live, 290_000)
    expect(await runDurableObjectAlarm(relayOf(live))).toBe(true)
    expect(viewer.closed).toBeNull()
    await letPass(live, 20_000)
    expect(await runDurableObjectAlarm(relayOf(live))).toBe(true)
    expect(await viewer.close()).toBe(1001)
    await publisher.demand(0)
  })

  /** Puts back by so much when the viewer fell behind, once it has. */
  async function letPass(live: LiveRun, ms: number): Promise<void> {
    const put = () =>
      runInDurableObject(relayOf(live), (_, state) => {
        const [socket] = state.getWebSockets('viewer')
        const stored = JSON.parse(socket?.deserializeAttachment())
        if (typeof stored.flow.behindSince !== 'number') return false
        stored.flow.behindSince -= ms
        socket?.serializeAttachment(JSON.stringify(stored))
        return true
      })
    await vi.waitUntil(put, 30_000)
    await evict(live)
  }
})

describe('a viewer that closes its socket', () => {
  test.each([1000, 1001, 1005, 1006, 4000, 0, 999, 1004, 1014, 2999, 5000, 65_535])(
    'with code %i is counted out at once',
    async code => {
      const live = await liveRun()
      const publisher = await TestPublisher.join(live)
      await TestViewer.join(live)
      await publisher.demand(1)
      // No client of the tests can send all of these; the runtime hands them on as they come.
      await runInDurableObject(relayOf(live), async (relay, state) => {
        const [socket] = state.getWebSockets('viewer')
        if (socket === undefined) throw new Error('no viewer')
        await relay.webSocketClose?.(socket, code, '', true)
      })
      await publisher.demand(0)
    },
  )
})

describe('a viewer that has pinged', () => {
  test('gives its place back once its pings stay away, long after those of a page in the background', async () => {
    const live = await liveRun()
    const [pinging, silent] = [await TestViewer.join(live), await TestViewer.join(live)]
    pinging.socket.send('ping')
    for (let heard = await pinging.next(); heard !== 'pong'; ) heard = await pinging.next()
    // As if the ping, where there was one, had come so much earlier.
    const later = async (ms: number) => {
      await runInDurableObject(relayOf(live), (_, state) => {
        const real = state.getWebSocketAutoResponseTimestamp.bind(state)
        vi.spyOn(state, 'getWebSocketAutoResponseTimestamp').mockImplementation(socket => {
          const at = real(socket)
          return at === null ? null : new Date(at.getTime() - ms)
        })
      })
      expect(await runDurableObjectAlarm(relayOf(live))).toBe(true)
      vi.restoreAllMocks()
    }
    await later(60_000)
    expect(pinging.closed).toBeNull()
    await later(90_000)
    expect(await pinging.close()).toBe(1001)
    expect(silent.closed).toBeNull()
    expect((await streamOf(live)).viewers).toBe(1)
  })
})

describe('an object that forgot', () => {
  test('asks for a picture when a viewer that is behind can take one', async () => {
    const live = await liveRun()
    const publisher = await TestPublisher.join(live)
    const viewer = await TestViewer.join(live)
    await publisher.demand(1)
    for (const seq of [1, 2, 3]) publisher.frame(seq)
    expect([await viewer.frame(), await viewer.frame()]).toEqual([1, 2])
    await evict(live)
    viewer.ack(2)
    expect(await publisher.demand(1)).toMatchObject({ refresh: true })
  })

  test('gives no more than two frames ahead, and never fewer than one, whichever acks came before', async () => {
    const live = await liveRun()
    const publisher = await TestPublisher.join(live)
    const viewer = await TestViewer.join(live)
    let seq = 0
    for (let round = 0; round < 5; round++) {
      publisher.frame(++seq)
      expect(await viewer.frame()).toBe(seq)
      viewer.ack(seq)
      await evict(live)
    }
    for (let count = 0; count < 4; count++) publisher.frame(seq + 1 + count)
    expect((await viewer.rest()).filter(isFrame).length).toBeLessThanOrEqual(2)
    viewer.ack(seq + 1)
    viewer.ack(seq + 2)
    expect(await viewer.frame()).toBe(seq + 4)
  })

  test('still tells viewers that the publisher has gone, and the publisher that the viewers have', async () => {
    const live = await liveRun()
    const viewer = await TestViewer.join(live)
    const first = await TestPublisher.join(live)
    first.frame(1)
    await viewer.until('live')
    await evict(live)
    first.socket.close(1000)
    expect(await viewer.until('connecting')).toMatchObject({ reason: expect.stringContaining('lost') })
    const second = await TestPublisher.join(live)
    await second.demand(1)
    await evict(live)
    viewer.socket.close(1000)
    await second.demand(0)
  })

  test('counts its viewers right, and tells each state once', async () => {
    const live = await liveRun()
    const [one, two] = [await TestViewer.join(live), await TestViewer.join(live)]
    await evict(live)
    const publisher = await TestPublisher.join(live)
    await publisher.demand(2)
    await evict(live)
    publisher.frame(1)
    expect(await one.frame()).toBe(1)
    await evict(live)
    one.socket.close(1000)
    await publisher.demand(1)
    const heard = (await two.rest()).filter(message => typeof message === 'string')
    const states = heard.map(message => JSON.parse(message)).filter(({ type }) => type === 'state')
    expect(states.map(({ stream, reason }) => [stream, reason?.includes('first picture') ?? false])).toEqual([
      ['connecting', false],
      ['connecting', true],
      ['live', false],
    ])
  })
})

describe('a publisher', () => {
  test('that begins its numbers anew is newer all the same, by whatever number', async () => {
    const live = await liveRun()
    const former = await TestPublisher.join(live)
    const viewer = await TestViewer.join(live)
    for (const seq of [100, 101]) former.frame(seq)
    expect([await viewer.frame(), await viewer.frame()]).toEqual([100, 101])
    const publisher = await TestPublisher.join(live)
    publisher.frame(101, new Uint8Array([42]))
    expect((await viewer.rest()).filter(isFrame)).toEqual([])
    viewer.ack(101)
    const [newest] = (await viewer.rest()).filter(isFrame)
    expect(newest?.at(-1)).toBe(42)
    viewer.ack(101)
    publisher.frame(0)
    expect(await viewer.frame()).toBe(0)
    viewer.ack(0)
    publisher.frame(0xffff_ffff)
    expect(await viewer.frame()).toBe(0xffff_ffff)
    viewer.ack(0xffff_ffff)
    publisher.frame(0)
    const heard = await viewer.rest()
    expect([heard.length, heard.filter(isFrame).map(seqOf)]).toEqual([1, [0]])
  })

  test('has its page’s size told with the frame that has it, however often it is said before', async () => {
    const live = await liveRun()
    const publisher = await TestPublisher.join(live)
    const viewer = await TestViewer.join(live)
    await viewer.until('connecting')
    for (let width = 1; width <= 200; width++) publisher.send({ type: 'hello', width, height: 600 })
    publisher.frame(1)
    await viewer.until('live')
    expect(await viewer.message()).toMatchObject({ type: 'hello', width: 200, height: 600 })
    expect(await viewer.frame()).toBe(1)
    const late = await TestViewer.join(live)
    expect(await late.message()).toMatchObject({ type: 'hello', width: 200, height: 600 })
  })

  test('that flips between a picture and none writes no row at its pace, and the last state arrives', async () => {
    const live = await liveRun()
    const publisher = await TestPublisher.join(live)
    const viewer = await TestViewer.join(live)
    publisher.frame(1)
    await viewer.until('live')
    const written = [vi.spyOn(RunnerPool.prototype, 'streamChanged'), vi.spyOn(RelayStore.prototype, 'save')]
    const begun = Date.now()
    const flip = async (times: number) => {
      for (let time = 0; time < times; time++) {
        publisher.send({ type: 'blank', cause: 'no_browser' })
        await viewer.until('connecting')
        publisher.frame(2 + time)
        await viewer.until('live')
      }
    }
    await flip(100)
    const counted = written.map(spy => spy.mock.calls.length)
    const seconds = (Date.now() - begun) / 1_000
    for (const spy of written) spy.mockRestore()
    for (const count of counted) expect(count).toBeLessThan(5 + 2 * seconds)
    // What was told last is not what was written last.
    await evict(live)
    await flip(5)
    publisher.send({ type: 'blank', cause: 'no_browser' })
    await viewer.until('connecting')
    await vi.waitUntil(async () => (await streamOf(live)).state === 'connecting', 30_000)
    viewer.socket.close(1000)
    await vi.waitUntil(async () => (await streamOf(live)).state === 'off', 30_000)
    await runDurableObjectAlarm(env.RUNNER_POOL.getByName(live.poolId))
    const path = `/api/v1/runs/${live.runId}/events`
    const { items } = ok(await call('GET', path, { key: live.tenant.keys.viewer })).body
    const types: string[] = items.map(({ type }: { type: string }) => type)
    expect(types.filter(type => type.startsWith('stream_'))).toEqual(['stream_opened', 'stream_closed'])
  })

  test('whose pings stay away is dropped, and its viewers are told', async () => {
    const live = await liveRun()
    const publisher = await TestPublisher.join(live)
    const viewer = await TestViewer.join(live)
    publisher.frame(1)
    await viewer.until('live')
    publisher.socket.send('ping')
    expect(await publisher.close()).toBe(1001)
    expect(await viewer.until('connecting')).toMatchObject({ reason: expect.stringContaining('lost') })
  })
})

describe('frames', () => {
  test('of four sessions at once reach their own viewers, every one of them and no other', async () => {
    const sessions = await Promise.all(
      (await Promise.all([liveRun(), liveRun(), liveRun(), liveRun()])).map(async live => ({
        mark: new TextEncoder().encode(live.sessionId),
        publisher: await TestPublisher.join(live),
        viewers: [await TestViewer.join(live), await TestViewer.join(live)],
      })),
    )
    const frames = 50
    const watching = sessions.flatMap(({ mark, viewers }) =>
      viewers.map(async viewer => {
        for (let seq = 1; seq <= frames; seq++) {
          const frame = await viewer.bytes()
          expect([seqOf(frame), frame.slice(13)]).toEqual([seq, mark])
          viewer.ack(seq)
        }
        expect((await viewer.rest()).filter(isFrame)).toEqual([])
      }),
    )
    const publishing = sessions.map(async ({ mark, publisher, viewers }) => {
      for (let seq = 1; seq <= frames; seq++) {
        publisher.frame(seq, mark)
        while (viewers.some(viewer => viewer.acked < seq)) await new Promise(resolve => setTimeout(resolve))
      }
    })
    await Promise.all([...watching, ...publishing])
  })
})

describe('a ticket', () => {
  test('opens one stream when five ask at once', async () => {
    const live = await liveRun()
    const ticket = await ticketFor(live)
    const dialled = await Promise.all(Array.from({ length: 5 }, () => dialStream(live.runId, ticket)))
    expect(dialled.map(outcome).toSorted()).toEqual([101, ...Array(4).fill('unauthenticated')])
  })

  test('is refused when it comes late', async () => {
    const live = await liveRun()
    const ticket = await ticketFor(live)
    await query(live, 'UPDATE tickets SET expires_at = expires_at - 30000')
    expect(outcome(await dialStream(live.runId, ticket))).toBe('unauthenticated')
  })

  test('is not given when its key is revoked while it is made', async () => {
    const live = await liveRun()
    const { key } = ok(await call('GET', '/api/v1/me', { key: live.tenant.keys.member })).body
    const racing = (sessionId: string): Pick<RelayStub, 'admit'> => ({
      admit: async grant => {
        const admitted = await BINDINGS.SESSION_RELAY.getByName(sessionId).admit(grant)
        await env.DB.prepare('UPDATE api_keys SET revoked_at = 1 WHERE id = ?').bind(key.id).run()
        return admitted
      },
    })
    const refused = await call('POST', `/api/v1/runs/${live.runId}/viewer-tickets`, {
      key: live.tenant.keys.member,
      body: { mode: 'view' },
      env: { SESSION_RELAY: { getByName: racing } },
    })
    expect(outcome(refused)).toBe('unauthenticated')
  })
})

describe('an ended session', () => {
  const leftovers = async (live: LiveRun) =>
    await runInDurableObject(relayOf(live), async (_, state) => ({
      tables: state.storage.sql.exec("SELECT name FROM sqlite_master WHERE name = 'relay'").toArray(),
      alarm: await state.storage.getAlarm(),
    }))

  test('leaves no table and no alarm, also when a ticket comes after it', async () => {
    const live = await liveRun()
    const viewer = await TestViewer.join(live)
    await vi.waitUntil(async () => commandsOf(await syncLive(live)).length > 0, 30_000)
    await endSession(live)
    expect(await viewer.close()).toBe(4410)
    expect(await leftovers(live)).toEqual({ tables: [], alarm: null })
    const late: TicketGrant = {
      tenant_id: live.tenant.id,
      pool_id: live.poolId,
      run_id: live.runId,
      session_id: live.sessionId,
      runner_id: live.runner.id,
      ticket_hash: 'late',
      mode: 'view',
      expires_at: Date.now() + 60_000,
      source: 'key',
      source_expires_at: null,
      source_max_viewers: null,
    }
    await BINDINGS.SESSION_RELAY.getByName(live.sessionId).admit(late)
    expect((await leftovers(live)).tables).not.toEqual([])
    await look(live)
    expect(await leftovers(live)).toEqual({ tables: [], alarm: null })
  })

  test('closes its viewers with 4410 when its run was cancelled', async () => {
    const live = await liveRun()
    const viewer = await TestViewer.join(live)
    ok(await call('POST', `/api/v1/runs/${live.runId}/cancel`, { key: live.tenant.keys.member }))
    expect(commandsOf(await syncLive(live)).map(({ type }) => type)).toContain('stop_session')
    await endSession(live)
    expect(await viewer.close()).toBe(4410)
  })
})

describe('a look that cannot ask', () => {
  test('does not throw, and looks again', async () => {
    const live = await liveRun()
    const viewer = await TestViewer.join(live)
    await viewer.until('connecting')
    await env.DB.prepare('ALTER TABLE live_links RENAME TO away').run()
    try {
      await look(live)
    } finally {
      await env.DB.prepare('ALTER TABLE away RENAME TO live_links').run()
    }
    expect(viewer.closed).toBeNull()
    expect(await runDurableObjectAlarm(relayOf(live))).toBe(true)
  })
})

describe('the log', () => {
  test('lets one follow a stream through Worker, pool and relay by the ids of run, session and runner', async () => {
    const lines: Record<string, unknown>[] = []
    const take = (line: unknown) => void lines.push(JSON.parse(String(line)))
    const spies = [vi.spyOn(console, 'info'), vi.spyOn(console, 'warn')].map(spy =>
      spy.mockImplementation(take),
    )
    const live = await liveRun()
    const viewer = await TestViewer.join(live)
    await vi.waitUntil(async () => commandsOf(await syncLive(live)).length > 0, 30_000)
    const publisher = await TestPublisher.join(live)
    await publisher.demand(1)
    publisher.socket.close(1000)
    expect(await viewer.until('connecting')).toBeDefined()
    await query(live, 'UPDATE relay SET waiting_since = waiting_since - 60000')
    await look(live)
    expect(await viewer.close()).toBe(4408)
    await endSession(live)
    await vi.waitUntil(() => lines.some(({ event }) => event === 'relay_session_ended'), 30_000)
    for (const spy of spies) spy.mockRestore()
    const ids = { run_id: live.runId, session_id: live.sessionId, runner_id: live.runner.id }
    for (const event of [
      'viewer_ticket_issued',
      'relay_viewer_upgraded',
      'relay_viewer_joined',
      'open_stream_ordered',
      'relay_publisher_upgraded',
      'relay_publisher_connected',
      'relay_publisher_left',
      'relay_connect_timeout',
      'relay_session_ended',
    ]) {
      expect(lines, event).toContainEqual(expect.objectContaining({ event, ...ids }))
    }
  })
})

function isFrame(message: string | Uint8Array): message is Uint8Array {
  return typeof message !== 'string'
}

function seqOf(frame: Uint8Array): number {
  return new DataView(frame.buffer, frame.byteOffset).getUint32(1)
}
