import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { FrameLine, type Picture } from '../../agent/live/frame-line.ts'
import { FramePace } from '../../agent/live/frame-pace.ts'

describe('the pace of frames', () => {
  test('lets the first one leave at once and the next one after its share of a second', () => {
    const pace = new FramePace()
    pace.setMaxFps(10)
    expect(pace.waitMs(1000)).toBe(0)
    pace.left(1000)
    expect(pace.waitMs(1030)).toBe(70)
    expect(pace.waitMs(1100)).toBe(0)
    expect(pace.waitMs(5000)).toBe(0)
  })

  test('follows a new limit from the next frame on', () => {
    const pace = new FramePace()
    pace.setMaxFps(1)
    pace.left(1000)
    pace.setMaxFps(50)
    expect(pace.waitMs(1005)).toBe(15)
  })
})

describe('the line between Chromium and the socket', () => {
  const sent: number[] = []
  const acked: number[] = []
  let caughtUp = 0
  /** Says that the picture being sent has left. */
  let leave: () => void
  let line: FrameLine

  beforeEach(() => {
    vi.useFakeTimers()
    sent.length = 0
    acked.length = 0
    caughtUp = 0
    line = new FrameLine({
      send: (picture, done) => {
        sent.push(picture.capturedAtMs)
        leave = done
      },
      catchUp: () => {
        caughtUp += 1
      },
      now: () => Date.now(),
    })
    line.setMaxFps(10)
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  function push(...numbers: readonly number[]): void {
    for (const number of numbers) line.push(aPicture(number))
  }
  function aPicture(number: number): Picture {
    const ack = () => void acked.push(number)
    return { image: new Uint8Array(1), capturedAtMs: number, width: 1, height: 1, ack }
  }

  test('sends a picture at once and acknowledges it only after it has left', () => {
    push(1)
    expect(sent).toEqual([1])
    expect(acked).toEqual([])
    leave()
    expect(acked).toEqual([1])
  })

  test('never holds more than two, and of those that came meanwhile sends the newest', () => {
    push(1, 2, 3, 4)
    expect(line.held).toBe(2)
    vi.advanceTimersByTime(1000)
    expect(sent).toEqual([1])
    leave()
    expect(sent).toEqual([1, 4])
  })

  test('acknowledges dropped ones together with the one that took their place, not before', () => {
    push(1, 2, 3, 4)
    vi.advanceTimersByTime(1000)
    leave()
    expect(acked).toEqual([1])
    leave()
    expect(acked).toEqual([1, 2, 3, 4])
  })

  test('keeps to the limit on a fast line', () => {
    push(1)
    leave()
    push(2)
    vi.advanceTimersByTime(99)
    expect(sent).toEqual([1])
    vi.advanceTimersByTime(1)
    expect(sent).toEqual([1, 2])
  })

  test('asks for the page as it is once it comes to rest after pictures were held up', () => {
    push(1)
    leave()
    push(2)
    vi.advanceTimersByTime(100)
    leave()
    vi.advanceTimersByTime(200)
    push(3)
    leave()
    expect(caughtUp).toBe(0)
    vi.advanceTimersByTime(1000)
    expect(caughtUp).toBe(1)
    push(4)
    leave()
    vi.advanceTimersByTime(60_000)
    expect([caughtUp, sent]).toEqual([1, [1, 2, 3, 4]])
  })

  test('asks for nothing where no picture was held up', () => {
    push(1)
    leave()
    vi.advanceTimersByTime(60_000)
    expect(caughtUp).toBe(0)
  })

  test('forgets what waits when nobody wants it any more', () => {
    push(1)
    leave()
    push(2)
    line.clear()
    vi.advanceTimersByTime(60_000)
    expect([sent, line.held, caughtUp]).toEqual([[1], 0, 0])
    push(3)
    expect(sent).toEqual([1, 3])
  })

  test('goes on after it was cleared while a picture was leaving', () => {
    push(1, 2)
    line.clear()
    leave()
    push(3)
    vi.advanceTimersByTime(100)
    expect(sent).toEqual([1, 3])
  })
})
