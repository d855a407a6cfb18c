import { describe, expect, test } from 'vitest'
import type {
  PublisherAttachment,
  ViewerAttachment,
} from '../../durable-objects/session-relay/core/attachments.ts'
import {
  acknowledge,
  type Flow,
  FRESH,
  give,
  mayStay,
} from '../../durable-objects/session-relay/core/flow.ts'
import { InputBudget } from '../../durable-objects/session-relay/core/input-budget.ts'
import {
  courseAfter,
  type Joint,
  OUTSET,
  stateOf,
  waitEndsAt,
} from '../../durable-objects/session-relay/core/joint.ts'
import {
  isNobodyTaking,
  silentAt,
  whyFull,
  whyLeave,
} from '../../durable-objects/session-relay/core/staying.ts'
import { CourseKeeper } from '../../durable-objects/session-relay/course-keeper.ts'
import { FromViewer, readAck } from '../../protocol/stream.ts'

/** The decisions of a session's relay, without sockets and without a clock. */

const NOW = 1_700_000_000_000

function joint(more: Partial<Joint> = {}): Joint {
  return { viewers: 1, publisher: true, framed: true, blank: null, ...more }
}

function viewer(more: Partial<ViewerAttachment> = {}): ViewerAttachment {
  return {
    role: 'viewer',
    mode: 'view',
    source: 'key',
    until: null,
    flow: FRESH,
    width: null,
    height: null,
    ...more,
  }
}

function behind(since: number): ViewerAttachment {
  return viewer({ flow: { inFlight: [1, 2], last: 2, behindSince: since } })
}

describe('credit of a viewer', () => {
  test('is two frames; what comes then makes it behind from the first on', () => {
    const one = give(FRESH, 1, NOW)
    const two = give(one.flow, 2, NOW)
    expect([one.sent, two.sent]).toEqual([true, true])
    const three = give(two.flow, 3, NOW + 1)
    expect(three).toEqual({ sent: false, flow: { inFlight: [1, 2], last: 2, behindSince: NOW + 1 } })
    const four = give(three.flow, 4, NOW + 2)
    expect(four.flow).toBe(three.flow)
    expect(give(acknowledge(four.flow, 1), 4, NOW + 3)).toEqual({
      sent: true,
      flow: { inFlight: [2, 4], last: 4, behindSince: null },
      skipped: 1,
    })
  })

  test.each<[string, readonly number[], number, readonly number[]]>([
    ['the older frame', [1, 2], 1, [2]],
    ['the newer one, and so both', [1, 2], 2, []],
    ['a frame long acknowledged', [5], 4, [5]],
    ['a frame never sent', [5, 6], 77, [5, 6]],
    ['a number that two publishers used, once for each', [7, 7], 7, [7]],
    ['a frame after the wrap', [0xffff_ffff, 0], 0, []],
  ])('after an ack of %s', (_of, inFlight, seq, left) => {
    expect(acknowledge({ inFlight, last: 1, behindSince: null }, seq).inFlight).toEqual(left)
  })

  test.each([
    [1, 2, 0],
    [1, 5, 3],
    [0xffff_ffff, 0, 0],
    [0xffff_fffe, 1, 2],
    [100, 0, 0],
    [7, 7, 0],
  ])('from frame %i to %i counts %i skipped', (last, seq, skipped) => {
    expect(give({ inFlight: [], last, behindSince: null }, seq, NOW)).toMatchObject({ sent: true, skipped })
  })

  test('needs no new attachment after an ack unless the stored one shows none of it', () => {
    const stored = (inFlight: number[], behindSince: number | null = null): Flow => ({
      inFlight,
      last: 2,
      behindSince,
    })
    expect([stored([]), stored([1]), stored([1, 2]), stored([1], NOW)].map(mayStay)).toEqual([
      true,
      true,
      false,
      false,
    ])
  })
})

describe('the state of a stream', () => {
  test.each<[Partial<Joint>, string]>([
    [{ viewers: 0 }, 'off'],
    [{ viewers: 0, publisher: false, framed: false }, 'off'],
    [{ publisher: false, framed: false }, 'connecting'],
    [{ framed: false }, 'connecting'],
    [{}, 'live'],
  ])('with %j is %s', (facts, state) => {
    expect(stateOf(joint(facts))).toBe(state)
  })

  test('waits for the runner from the first moment it is missed to the moment it is there', () => {
    const missing = joint({ publisher: false, framed: false })
    const first = courseAfter(OUTSET, missing, NOW)
    const later = courseAfter(first, missing, NOW + 5_000)
    expect([first.waitingSince, later.waitingSince]).toEqual([NOW, NOW])
    expect(waitEndsAt(later, 15_000)).toBe(NOW + 15_000)
    expect(courseAfter(later, joint({ viewers: 0, publisher: false }), NOW).waitingSince).toBeNull()
    expect(waitEndsAt(courseAfter(later, joint({ framed: false }), NOW), 15_000)).toBeNull()
  })

  test('is told with the reason that holds: never there, no picture yet, lost', () => {
    const missing = joint({ publisher: false, framed: false })
    const never = courseAfter(OUTSET, missing, NOW)
    const silent = courseAfter(never, joint({ framed: false }), NOW)
    const live = courseAfter(silent, joint(), NOW)
    const lost = courseAfter(live, missing, NOW)
    const reasons = [never, silent, live, lost].map(({ said }) => JSON.parse(said).reason)
    expect(reasons).toEqual([
      'waiting for the runner to connect',
      'the runner is connected; waiting for the first picture',
      undefined,
      'the connection to the runner was lost; waiting for it to come back',
    ])
  })
})

describe('what is kept of the course', () => {
  const blank = { ...OUTSET, said: 'blank' }
  const live = { ...OUTSET, said: 'live' }

  test('is what was said, or, while that changes all the time, that nothing is known to have been said', () => {
    const saved: string[] = []
    const keeper = new CourseKeeper({ save: ({ said }) => void saved.push(said) }, OUTSET)
    keeper.keep(blank, NOW)
    for (let ms = 1; ms < 1_000; ms++) keeper.keep(ms % 2 === 1 ? live : blank, NOW + ms)
    expect(saved).toEqual(['blank', ''])
    keeper.keep(live, NOW + 1_000)
    keeper.keep(live, NOW + 1_001)
    expect(saved).toEqual(['blank', '', 'live'])
  })
})

describe('who may stay', () => {
  test.each<[ViewerAttachment, number | null]>([
    [viewer(), null],
    [viewer({ until: NOW + 1 }), null],
    [viewer({ until: NOW }), 4401],
    [behind(NOW - 299_999), null],
    [behind(NOW - 300_000), 1001],
  ])('%#', (state, code) => {
    expect(whyLeave(state, null, NOW)?.code ?? null).toBe(code)
  })

  test.each<[number | null, number | null]>([
    [null, null],
    [NOW - 89_999, null],
    [NOW - 90_000, 1001],
  ])('a viewer that pinged at %s, if ever', (pingedAt, code) => {
    expect(whyLeave(viewer(), pingedAt, NOW)?.code ?? null).toBe(code)
  })

  test('nobody takes frames when every viewer has been behind for a while', () => {
    const taking = (...states: ViewerAttachment[]) =>
      !isNobodyTaking(
        states.map(state => ({ state })),
        NOW,
      )
    expect(taking(behind(NOW - 1_499))).toBe(true)
    expect(taking(behind(NOW - 1_500))).toBe(false)
    expect(taking(behind(NOW - 60_000), viewer())).toBe(true)
    expect(taking(behind(NOW - 60_000), behind(NOW - 1_500))).toBe(false)
  })

  test('a publisher is silent only once it has pinged and then stops', () => {
    const publisher: PublisherAttachment = {
      role: 'publisher',
      connected_at: NOW - 60_000,
      framed: true,
      blank: null,
      width: null,
      height: null,
    }
    expect(silentAt(publisher, null)).toBeNull()
    expect(silentAt(publisher, NOW)).toBe(NOW + 7_000)
    // Of a socket before this one.
    expect(silentAt(publisher, NOW - 70_000)).toBe(NOW - 53_000)
  })

  test.each([
    [99, 0, null, null],
    [100, 0, null, 'conflict'],
    [5, 4, 5, null],
    [5, 5, 5, 'conflict'],
  ])('with %i viewers, %i of them by the same link for %s: %s', (all, ofSource, most, code) => {
    expect(whyFull({ source_max_viewers: most }, { all, ofSource }, 100)?.code ?? null).toBe(code)
  })
})

describe('input', () => {
  test('is passed on up to 240 events and 64 KiB a second, by each viewer', () => {
    const budget = new InputBudget()
    const [hand, paste] = [{}, {}]
    const passed = (who: object, characters: number, now: number) =>
      Array.from({ length: 1_000 }, () => budget.spend(who, characters, now)).filter(Boolean).length
    expect(passed(hand, 100, NOW)).toBe(240)
    expect(passed(paste, 4_096, NOW)).toBe(16)
    expect(passed(hand, 100, NOW + 999)).toBe(0)
    expect(passed(hand, 100, NOW + 1_000)).toBe(240)
  })
})

describe('an ack', () => {
  test.each([0, 1, 41, 4_294_967_295])('of frame %i is read without its schema, as by it', seq => {
    const text = JSON.stringify({ type: 'ack', seq })
    expect(readAck(text)).toBe(seq)
    expect(FromViewer.parse(JSON.parse(text))).toEqual({ type: 'ack', seq })
  })

  test.each([
    '{"type":"ack","seq":4294967296}',
    '{"type":"ack","seq":-1}',
    '{"type":"ack","seq":1.5}',
    '{"type":"ack","seq":01}',
    '{"type":"ack","seq":"1"}',
    '{"type":"ack","seq":1}{',
    ' {"type":"ack","seq":1}',
    '{"type":"ack","seq":1e3}',
    '',
  ])('in any other form is left to the schema: %s', text => {
    expect(readAck(text)).toBeNull()
  })
})
