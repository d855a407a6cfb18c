import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { listenForStop } from '../../runner/daemon/shutdown.ts'

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

let atMs: number
let log: ReturnType<typeof aLog>
let signals: ReturnType<typeof listenForStop>
let before: Map<string, readonly unknown[]>

function aLog() {
  return { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn(), fatal: vi.fn(), child: vi.fn() }
}

beforeEach(() => {
  atMs = 5000
  vi.spyOn(performance, 'now').mockImplementation(() => atMs)
  before = new Map(SIGNALS.map(name => [name, process.listeners(name)]))
  log = aLog()
  signals = listenForStop(log)
})

afterEach(() => {
  for (const name of SIGNALS) {
    for (const listener of process.listeners(name)) {
      if (!before.get(name)?.includes(listener)) process.off(name, listener)
    }
  }
  vi.restoreAllMocks()
})

test.each(SIGNALS)('%s is a wish to leave', name => {
  process.emit(name, name)
  expect([signals.leave.aborted, signals.halt.aborted]).toEqual([true, false])
  expect(log.info.mock.calls[0]?.[0]).toEqual({ signal: name })
})

test('what comes within a second of the first is its echo, and what comes later says to stop the sessions', () => {
  process.emit('SIGINT', 'SIGINT')
  atMs += 999
  process.emit('SIGTERM', 'SIGTERM')
  expect(signals.halt.aborted).toBe(false)
  expect(log.warn).not.toHaveBeenCalled()
  atMs += 1
  process.emit('SIGTERM', 'SIGTERM')
  expect(signals.halt.aborted).toBe(true)
  expect(log.warn).toHaveBeenCalledTimes(1)
})
