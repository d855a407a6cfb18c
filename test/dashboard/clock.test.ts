import { describe, expect, test } from 'vitest'
import { skewAfter } from '../../dashboard/api/clock.ts'

const HOUR_MS = 3_600_000

describe('what is known of the other clock', () => {
  test('stays as it is as long as answers agree with it', () => {
    const sentAt = 1_000_400
    expect(skewAfter(0, { saidAt: 1_000_000, sentAt, heardAt: sentAt + 200 })).toBe(0)
    expect(skewAfter(300, { saidAt: 1_000_000, sentAt, heardAt: sentAt + 200 })).toBe(300)
  })

  test.each([
    ['ahead', HOUR_MS],
    ['behind', -HOUR_MS],
  ])('follows a clock that is an hour %s, within a second and the answer’s way', (_where, aheadMs) => {
    const sentAt = 5_000_250
    const saidAt = Math.floor((sentAt + aheadMs + 50) / 1000) * 1000
    const skew = skewAfter(0, { saidAt, sentAt, heardAt: sentAt + 100 })
    expect(Math.abs(skew - aheadMs)).toBeLessThanOrEqual(1_100)
    // The next answer changes it no more than it must.
    expect(skewAfter(skew, { saidAt, sentAt, heardAt: sentAt + 100 })).toBe(skew)
  })

  test('comes closer with every answer, and never leaves what one has proved', () => {
    const aheadMs = 10_000
    let skew = 0
    for (let sentAt = 100_000; sentAt < 130_000; sentAt += 1_370) {
      const saidAt = Math.floor((sentAt + aheadMs) / 1000) * 1000
      const next = skewAfter(skew, { saidAt, sentAt, heardAt: sentAt })
      expect(Math.abs(next - aheadMs)).toBeLessThanOrEqual(Math.abs(skew - aheadMs))
      skew = next
    }
    expect(Math.abs(skew - aheadMs)).toBeLessThan(100)
  })
})
