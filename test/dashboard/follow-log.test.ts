import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type FollowedLog, followLog, NOT_READ_YET } from '../../dashboard/pages/runs/follow-log.ts'

const SILENCE_MS = 45_000

function event(type: string, at: number, text: string): string {
  return `event: ${type}\nid: ses.${at}\ndata: ${JSON.stringify({ offset: at, text })}\n\n`
}

describe('a log that is followed', () => {
  const asked: AbortSignal[] = []
  beforeEach(() => {
    asked.length = 0
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
    vi.unstubAllGlobals()
  })

  /** Hangs on the first call, and answers the next with all of the log. */
  async function answer(_path: string, { signal }: RequestInit): Promise<Response> {
    if (signal) asked.push(signal)
    if (asked.length > 1)
      return new Response(event('session', 0, '') + event('log', 4, 'one\n') + event('end', 4, ''))
    return await new Promise((_, reject) => {
      signal?.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')))
    })
  }

  test('gives up a call that is never answered, says so, and goes on', async () => {
    vi.stubGlobal('fetch', answer)
    const shown: FollowedLog[] = []
    const stop = followLog('run', log => shown.push(log))
    await vi.advanceTimersByTimeAsync(SILENCE_MS + 200)
    expect(shown.at(-1)).toEqual({ ...NOT_READ_YET, isLost: true })
    expect(asked[0]?.aborted).toBe(true)
    await vi.advanceTimersByTimeAsync(5_000)
    expect(shown.at(-1)).toEqual({ lines: ['one', ''], isCut: false, isLost: false, isOver: true })
    expect(asked.length).toBe(2)
    stop()
    expect(vi.getTimerCount()).toBe(0)
  })

  test('leaves a call that hangs when it is stopped', async () => {
    vi.stubGlobal('fetch', answer)
    const stop = followLog('run', () => undefined)
    await vi.advanceTimersByTimeAsync(1_000)
    stop()
    expect(asked.map(({ aborted }) => aborted)).toEqual([true])
    await vi.advanceTimersByTimeAsync(SILENCE_MS)
    expect([asked.length, vi.getTimerCount()]).toEqual([1, 0])
  })
})
