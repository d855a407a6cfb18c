import { expect, test } from 'vitest'
import { append } from '../../durable-objects/session-files/core/log.ts'

const log = { length: 100, complete: false, truncated: false }
const chunk = { offset: 100, size: 10, complete: false }

test('a chunk that fits exactly is kept whole, and the next byte is one too many', () => {
  const kept = append(log, chunk, 110)
  expect(kept).toMatchObject({ kind: 'keep', take: 10, notice: null, log: { length: 110, truncated: false } })
  const full = { ...log, length: 110 }
  expect(append(full, { offset: 110, size: 1, complete: false }, 110)).toMatchObject({
    take: 0,
    notice: expect.stringContaining('cut here'),
    log: { length: 110, truncated: true },
  })
  expect(append(full, { offset: 110, size: 0, complete: true }, 110)).toMatchObject({
    notice: null,
    log: { complete: true, truncated: false },
  })
})

test('a cap that was lowered below what is kept takes nothing away', () => {
  expect(append(log, chunk, 50)).toMatchObject({ take: 0, log: { length: 100, truncated: true } })
})

test('what is closed takes nothing more, and hearing of the end again is no fault', () => {
  const closed = { ...log, complete: true }
  expect(append(closed, chunk, 1000)).toEqual({ kind: 'mismatch', length: 100 })
  expect(append(closed, { offset: 100, size: 0, complete: true }, 1000)).toEqual({ kind: 'nothing' })
})
